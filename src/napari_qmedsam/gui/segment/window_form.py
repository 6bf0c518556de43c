"""The fields of the intensity window: a preset, or two numbers."""

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QLabel, QWidget

from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.volumes.registry import guesses_modality
from napari_qmedsam.volumes.volume import Modality, Volume
from napari_qmedsam.volumes.windows import CT_PRESETS, Window, percentile_window

CUSTOM = "custom"
"""The preset that is shown when the window is none of the others."""


def presets_of(volume: Volume) -> dict[str, Window]:
    """Return the windows offered for a volume, by name.

    Where its modality is a guess, those of the other one are offered too.
    """
    if volume.is_colour:
        return {"full range": volume.default_window()}
    ct = {name.replace("-", " "): w for name, w in CT_PRESETS.items()}
    automatic = {"automatic": percentile_window(volume.array)}
    if volume.modality is Modality.CT:
        return ct | automatic if guesses_modality(volume) else ct
    return automatic | ct if guesses_modality(volume) else automatic


class WindowForm(QWidget):
    """Shows one window and tells when the user wants another."""

    window_chosen = Signal(object)

    refused = Signal(str)
    """What is wrong with the numbers that were typed in."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._presets: Mapping[str, Window] = {}
        self._window = Window(0.0, 1.0)
        self.preset = QComboBox(self)
        self.preset.setToolTip(
            "Grey range that you see and that the model sees; it is the layer's "
            "contrast limits."
        )
        self.preset.setMinimumContentsLength(9)
        self.darkest = self._number("Value shown as black.")
        self.brightest = self._number("Value shown as white.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.preset, 2)
        layout.addWidget(self.darkest, 1)
        layout.addWidget(QLabel("to", self))
        layout.addWidget(self.brightest, 1)
        self.preset.activated.connect(self._preset_chosen)

    def offer(self, presets: Mapping[str, Window], decimals: int) -> None:
        """Offer these presets; numbers are shown with so many decimals."""
        self._presets = presets
        self.preset.clear()
        self.preset.addItems([*presets, CUSTOM])
        for field in (self.darkest, self.brightest):
            field.setDecimals(decimals)

    def forget(self) -> None:
        """Show nothing: there is no image."""
        self.offer({}, 0)
        self.preset.clear()
        self.show_window(Window(0.0, 1.0))

    def show_window(self, window: Window) -> None:
        """Show a window without telling anybody."""
        self._window = window
        for field, value in (
            (self.darkest, window.lower),
            (self.brightest, window.upper),
        ):
            field.blockSignals(True)
            field.setValue(value)
            field.blockSignals(False)
        names = [name for name, preset in self._presets.items() if preset == window]
        self.preset.setCurrentText(names[0] if names else CUSTOM)

    def _number(self, tip: str) -> QDoubleSpinBox:
        field = QDoubleSpinBox(self)
        field.setRange(-1e9, 1e9)
        field.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        # The range would ask for room for ten digits, and napari's style for arrows.
        field.setStyleSheet("min-width: 44px; padding: 1px 3px;")
        field.setMaximumWidth(84)
        field.setKeyboardTracking(False)
        field.setToolTip(tip)
        field.valueChanged.connect(self._number_edited)
        return field

    def _preset_chosen(self, index: int) -> None:
        window = self._presets.get(self.preset.itemText(index), self._window)
        self.window_chosen.emit(window)

    def _number_edited(self) -> None:
        window = None
        with errors_shown(self.refused.emit):
            window = Window(self.darkest.value(), self.brightest.value())
        if window is None:
            self.show_window(self._window)
        else:
            self.window_chosen.emit(window)
