"""The fields of the intensity window: a preset, its ends, or level and width."""

from collections.abc import Callable, Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_qmedsam.gui.shared.forms import row
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
        self.preset.setMinimumContentsLength(8)
        self.darkest = self._number("Value shown as black.", self._ends_edited)
        self.brightest = self._number("Value shown as white.", self._ends_edited)
        drag = "Ctrl and a drag of the mouse in the picture change it too"
        self.centre = self._number(
            f"Middle of the grey range: {drag}, up and down.", self._level_edited
        )
        self.range_width = self._number(
            f"Width of the grey range: {drag}, left and right.", self._level_edited
        )
        self.segment_again = QCheckBox("Segment again", self)
        self.segment_again.setToolTip(
            "Segment the slice in view again when the window has changed, since the "
            "model sees it; undo brings the masks before back."
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(
            row((self.preset, 2), self.darkest, (QLabel("to", self), 0), self.brightest)
        )
        layout.addLayout(
            row(
                (QLabel("L", self), 0),
                self.centre,
                (QLabel("W", self), 0),
                self.range_width,
                (self.segment_again, 2),
            )
        )
        self.preset.activated.connect(self._preset_chosen)

    def offer(self, presets: Mapping[str, Window], decimals: int) -> None:
        """Offer these presets; numbers are shown with so many decimals."""
        self._presets = presets
        self.preset.clear()
        self.preset.addItems([*presets, CUSTOM])
        for field in (self.darkest, self.brightest, self.centre, self.range_width):
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
            (self.centre, window.level),
            (self.range_width, window.width),
        ):
            field.blockSignals(True)
            field.setValue(value)
            field.blockSignals(False)
        names = [name for name, preset in self._presets.items() if preset == window]
        self.preset.setCurrentText(names[0] if names else CUSTOM)

    def _number(self, tip: str, edited: Callable[[], None]) -> QDoubleSpinBox:
        field = QDoubleSpinBox(self)
        field.setRange(-1e9, 1e9)
        field.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        # The range would ask for room for ten digits, and napari's style for arrows.
        field.setStyleSheet("min-width: 44px; padding: 1px 3px;")
        field.setMaximumWidth(84)
        field.setKeyboardTracking(False)
        field.setToolTip(tip)
        field.valueChanged.connect(lambda _: edited())
        return field

    def _preset_chosen(self, index: int) -> None:
        window = self._presets.get(self.preset.itemText(index), self._window)
        self.window_chosen.emit(window)

    def _ends_edited(self) -> None:
        self._edited(Window, self.darkest.value(), self.brightest.value())

    def _level_edited(self) -> None:
        self._edited(Window.of_level, self.centre.value(), self.range_width.value())

    def _edited(
        self, make: Callable[[float, float], Window], first: float, second: float
    ) -> None:
        window = None
        with errors_shown(self.refused.emit):
            window = make(first, second)
        if window is None:
            self.show_window(self._window)
        else:
            self.window_chosen.emit(window)
