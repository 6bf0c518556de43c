"""The controls of the panel "Segment" and how they are arranged."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_qmedsam.gui.model_form import ModelForm
from napari_qmedsam.gui.object_table import ObjectTable
from napari_qmedsam.gui.window_form import WindowForm
from napari_qmedsam.segmentation.propagation import Propagation

PROPAGATIONS = {
    Propagation.BOX: "Same box on every slice",
    Propagation.MASK: "Follow the mask",
}
"""How a box is carried from slice to slice, as the panel says it."""


class SegmentControls(QWidget):
    """Every control, without what it does."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.image = QComboBox(self)
        self.image.setToolTip("Image layer to segment.")
        self.image.setMinimumContentsLength(16)
        self.image.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.image.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.models = ModelForm(self)
        self.window_form = WindowForm(self)
        self.table = ObjectTable(self)
        self.propagation = QComboBox(self)
        for propagation, title in PROPAGATIONS.items():
            self.propagation.addItem(title, propagation)
        self.propagation.setToolTip(
            "How a box is carried over its slices; following the mask starts in "
            "the middle."
        )
        self.protect = QCheckBox("Protect other labels", self)
        self.protect.setToolTip(
            "Keep the voxels of objects that are not being segmented."
        )
        self.progress = QProgressBar(self)
        self.progress.setToolTip("Share of the work that is done.")
        self.progress.setTextVisible(False)
        self.status = QLabel(self)
        self.status.setToolTip("What runs, where, and how fast.")
        self.status.setWordWrap(True)
        self._make_buttons()
        self._arrange()

    def show_progress(self, done: int, total: int) -> None:
        """Show steps done; total 0 means that nobody knows how many there are."""
        self.progress.setRange(0, total)
        if done:
            self.progress.setValue(done)
        else:
            self.progress.reset()

    def chosen_propagation(self) -> Propagation:
        """Return how boxes are carried from slice to slice."""
        return Propagation(self.propagation.currentData())

    def _make_buttons(self) -> None:
        self.draw = self._button(
            "Draw boxes", "Turn on the rectangle tool; each rectangle is an object."
        )
        self.from_here = self._button(
            "From here",
            "Let the selected objects, or all, start on the slice in view.",
        )
        self.to_here = self._button(
            "To here", "Let the selected objects, or all, end on the slice in view."
        )
        self.on_slice = self._button(
            "Segment slice",
            "Segment the selected objects, or all, on the slice in view.",
        )
        self.on_range = self._button(
            "Segment range",
            "Segment the selected objects, or all, from their first to last slice.",
        )
        self.cancel = self._button("Cancel", "Stop and keep the finished slices.")
        self.undo = self._button("Undo", "Take the last segmentation back.")
        self.redo = self._button("Redo", "Make what was undone again.")
        self.save = self._button(
            "Save labels…", "Write the labels on the grid of the image file."
        )

    def _button(self, text: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setToolTip(tip)
        return button

    def _arrange(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Image", self.image)
        form.addRow("Model", self.models)
        form.addRow("Window", self.window_form)
        boxes = QHBoxLayout()
        for button in (self.draw, self.from_here, self.to_here):
            boxes.addWidget(button, 1)
        carried = QFormLayout()
        carried.addRow("Range", self.propagation)
        buttons = QGridLayout()
        buttons.addWidget(self.on_slice, 0, 0, 1, 3)
        buttons.addWidget(self.on_range, 0, 3, 1, 3)
        buttons.addWidget(self.progress, 1, 0, 1, 4)
        buttons.addWidget(self.cancel, 1, 4, 1, 2)
        for column, button in enumerate((self.undo, self.redo, self.save)):
            buttons.addWidget(button, 2, 2 * column, 1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout.addLayout(form)
        layout.addLayout(boxes)
        layout.addWidget(self.table, 1)
        layout.addLayout(carried)
        layout.addWidget(self.protect)
        layout.addLayout(buttons)
        layout.addWidget(self.status)
