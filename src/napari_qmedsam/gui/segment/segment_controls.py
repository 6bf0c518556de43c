"""The controls of the panel "Segment" and how they are arranged."""

from dataclasses import dataclass
from typing import ClassVar

from qtpy.QtCore import QSize
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_qmedsam.gui.segment.keys import tip
from napari_qmedsam.gui.segment.object_table import ObjectTable
from napari_qmedsam.gui.segment.preview import Preview
from napari_qmedsam.gui.segment.window_form import WindowForm
from napari_qmedsam.gui.shared.forms import (
    button,
    choice,
    column,
    form,
    row,
    status_line,
)
from napari_qmedsam.gui.shared.icons import icon
from napari_qmedsam.gui.shared.model_form import ModelForm
from napari_qmedsam.gui.shared.progress import StepBar
from napari_qmedsam.segmentation.propagation import Propagation

PROPAGATIONS = {
    Propagation.BOX: "Boxes as drawn",
    Propagation.MASK: "Follow the mask",
}
"""How a box is carried from slice to slice, as the panel says it."""


@dataclass
class SegmentChoices:
    """Choices in the panel Segment.

    Parameters
    ----------
    model, backend, precision : str
    propagation : str
    protect : bool
    automatic : bool
        Segment a slice as soon as its box changes.
    folder : str
        Where files were opened from or saved to last.
    """

    NAME: ClassVar[str] = "segment-panel"

    model: str = "demo"
    backend: str = "openvino"
    precision: str = "fp32"
    propagation: str = Propagation.BOX.value
    protect: bool = False
    automatic: bool = True
    folder: str = ""


class SegmentControls(QWidget):
    """Every control, without what it does."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.image = choice(self, "Image layer to segment.")
        self.view = choice(
            self,
            "Slices to look at and to draw boxes on; the model segments along them.",
            7,
        )
        self.models = ModelForm(self)
        self.runs = status_line(
            self,
            "What really runs: model, runtime, precision, device, speed, and size on "
            "disk and in memory.",
        )
        self.window_form = WindowForm(self)
        self.preview = Preview(self)
        self.table = ObjectTable(self)
        self.propagation = choice(
            self,
            "How a range is segmented: each slice from the drawn and interpolated "
            "boxes, or from the middle on by the mask of its neighbour.",
        )
        for propagation, title in PROPAGATIONS.items():
            self.propagation.addItem(title, propagation)
        self.automatic = QCheckBox("Segment as boxes change", self)
        self.automatic.setToolTip(
            "Segment a slice by itself when its box or points were drawn or changed."
        )
        self.protect = QCheckBox("Protect other labels", self)
        self.protect.setToolTip(
            "Keep the voxels of objects that are not being segmented."
        )
        self.progress = StepBar(self)
        self.show_progress = self.progress.show_steps
        self.status = status_line(self, "What happens.")
        self._make_buttons()
        self._arrange()

    def chosen_propagation(self) -> Propagation:
        """Return how 3D boxes prompt the slices they cover."""
        return Propagation(self.propagation.currentData())

    def set_ink(self, colour: str) -> None:
        """Draw the icons in another colour."""
        for made, name in self._icons.items():
            made.setIcon(icon(name, colour))
        self.table.set_ink(colour)

    def _make_buttons(self) -> None:
        self._icons: dict[QPushButton, str] = {}
        self.draw = self._button("Box", tip("draw_boxes"), "box")
        self.key_box = self._button("Key box", tip("add_key_box"), "key_box")
        self.positive = self._button("Point", tip("set_positive"), "positive")
        self.negative = self._button("Point", tip("set_negative"), "negative")
        self.from_here = self._button(
            "From here",
            "Let the selected objects, or all, start on the slice in view.",
        )
        self.to_here = self._button(
            "To here", "Let the selected objects, or all, end on the slice in view."
        )
        self.remove = self._button(
            "Remove", "Remove the selected objects with their voxels.", "remove"
        )
        self.up = self._button("Up", tip("propagate_up"), "up")
        self.down = self._button("Down", tip("propagate_down"), "down")
        self.on_slice = self._button("Slice", tip("segment_slice"))
        self.on_range = self._button("Range", tip("segment_range"))
        self.cancel = self._button("Cancel", tip("cancel"))
        self.undo = self._button("Undo", tip("undo"), "undo")
        self.redo = self._button("Redo", tip("redo"), "redo")
        self.save = self._button("Save…", tip("save_labels"), "save")
        self.help = self._button("Keys", tip("show_help"), "help")

    def _button(self, text: str, tooltip: str, name: str = "") -> QPushButton:
        made = button(self, text, tooltip)
        # napari's style sheets would not let four of them side by side.
        made.setMinimumWidth(40)
        if name:
            made.setIconSize(QSize(15, 15))
            self._icons[made] = name
        return made

    def _arrange(self) -> None:
        fields = form(
            ("Image", row((self.image, 3), (self.view, 2))), ("Model", self.models)
        )
        fields.setVerticalSpacing(6)
        fields.addRow(self.runs)
        fields.addRow("Window", self.window_form)
        options = QVBoxLayout()
        options.setSpacing(4)
        options.addWidget(self.automatic)
        options.addWidget(self.protect)
        options.addWidget(self.propagation)
        segment = QLabel("Segment", self)
        options.addLayout(row((segment, 0), self.on_slice, self.on_range))
        options.addLayout(row(self.from_here, self.to_here, self.remove))
        seen = QHBoxLayout()
        seen.addWidget(self.preview)
        seen.addLayout(options, 1)
        work = QGridLayout()
        label = QLabel("Propagate", self)
        label.setToolTip("From the masks on this slice to the slices beyond.")
        work.addWidget(label, 0, 0, 1, 2)
        work.addWidget(self.down, 0, 2, 1, 3)
        work.addWidget(self.up, 0, 5, 1, 3)
        work.addWidget(self.progress, 1, 0, 1, 6)
        work.addWidget(self.cancel, 1, 6, 1, 2)
        for place, made in enumerate((self.undo, self.redo, self.help)):
            work.addWidget(made, 2, 2 * place, 1, 2)
        work.addWidget(self.save, 2, 6, 1, 2)
        for place in range(8):
            work.setColumnStretch(place, 1)
        column(
            self,
            fields,
            seen,
            row(self.draw, self.key_box, self.positive, self.negative),
            (self.table, 1),
            work,
            self.status,
        )
