"""The controls of the panel "Compare" and how they are arranged."""

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_qmedsam.gui.comparison_layers import View
from napari_qmedsam.gui.plots import SizePlot
from napari_qmedsam.gui.progress import StepBar
from napari_qmedsam.gui.variant_table import VariantTable

if TYPE_CHECKING:
    import napari

DRAWN, AROUND = "Drawn boxes", "Around each label"
"""Where the boxes come from."""

RANGE, SLICE = "Whole range", "This slice"
"""What is segmented and scored."""

DIVIDER_STEPS = 1000
"""Places that the swipe's slider has."""

MEAN = "Mean over objects"
"""The entry of the score combo that stands for all objects."""


class CompareControls(QWidget):
    """Every control, without what it does."""

    def __init__(self, viewer: "napari.viewer.Viewer", parent: QWidget) -> None:
        super().__init__(parent)
        self.image = self._choice("Image layer that is segmented.")
        self.labels = self._choice("Labels layer that counts as the truth.")
        self.boxes = self._choice(
            "Prompt with the boxes drawn on the image, or with a tight box around "
            "each label."
        )
        self.boxes.addItems([DRAWN, AROUND])
        self.scope = self._choice(
            "Segment and score all slices of the boxes, or the slice in view."
        )
        self.scope.addItems([RANGE, SLICE])
        self.tolerance = QDoubleSpinBox(self)
        self.tolerance.setRange(0.0, 100.0)
        self.tolerance.setSingleStep(0.5)
        self.tolerance.setDecimals(1)
        self.tolerance.setValue(2.0)
        self.tolerance.setSuffix(" mm")
        self.tolerance.setToolTip(
            "Distance up to which surfaces agree, for the normalised surface distance."
        )
        self.spacing = QLabel(self)
        self.spacing.setToolTip("Voxel size of the image along z, y and x.")
        self.scores = self._choice("Object whose scores the table shows.")
        self.scores.addItem(MEAN, None)
        self.table = VariantTable(self)
        self.plot = SizePlot(viewer)
        self.progress = StepBar(self)
        self.show_progress = self.progress.show_steps
        self.status = QLabel(self)
        self.status.setWordWrap(True)
        self.status.setToolTip("What happens, and what the figures were measured on.")
        self.view = self._choice(
            "Show the masks of the variants as layers, side by side in a grid, one "
            "after the other in place, or left and right of a divider."
        )
        self.view.addItems([view.value for view in View])
        self.left = self._choice("Variant left of the divider.")
        self.right = self._choice("Variant right of the divider.")
        self.divider = QSlider(Qt.Orientation.Horizontal, self)
        self.divider.setRange(0, DIVIDER_STEPS)
        self.divider.setToolTip(
            "Place of the divider, which can be dragged in the picture as well."
        )
        self._make_buttons()
        self._arrange()

    def _make_buttons(self) -> None:
        self.compare = self._button(
            "Compare", "Run the ticked variants on the same boxes and score them."
        )
        self.cancel = self._button("Cancel", "Stop; variants that are done stay.")
        self.differences = self._button(
            "Differences", "Add a layer of the voxels on which variants differ."
        )
        self.distance = self._button(
            "Distance",
            "Add a layer of the signed distance from the selected variant's surface to "
            "that of the labels.",
        )
        self.copy_csv = self._button("Copy CSV", "Copy the table as CSV.")
        self.copy_markdown = self._button("Copy MD", "Copy the table as Markdown.")
        self.save = self._button("Save…", "Write the table as CSV or Markdown.")

    def _arrange(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Image", self.image)
        form.addRow("Labels", self.labels)
        form.addRow("Boxes", _row(self.boxes, self.scope))
        form.addRow("Tolerance", _row(self.tolerance, self.spacing))
        work = QGridLayout()
        work.addWidget(self.compare, 0, 0)
        work.addWidget(self.cancel, 0, 1)
        work.addWidget(self.progress, 1, 0, 1, 2)
        scores = QFormLayout()
        scores.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        scores.addRow("Scores", self.scores)
        scores.addRow("Masks", self.view)
        self.sides = QWidget(self)
        sides = _row(self.left, self.divider, self.right)
        sides.setContentsMargins(0, 0, 0, 0)
        sides.setStretch(0, 2)
        sides.setStretch(2, 2)
        self.sides.setLayout(sides)
        self.sides.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout.addLayout(form)
        layout.addLayout(work)
        layout.addWidget(self.status)
        layout.addWidget(self.table, 2)
        layout.addLayout(_row(self.copy_csv, self.copy_markdown, self.save))
        layout.addLayout(scores)
        layout.addWidget(self.sides)
        layout.addLayout(_row(self.differences, self.distance))
        layout.addWidget(self.plot, 1)

    def _choice(self, tip: str) -> QComboBox:
        combo = QComboBox(self)
        combo.setToolTip(tip)
        combo.setMinimumContentsLength(10)
        combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        return combo

    def _button(self, text: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setToolTip(tip)
        return button


def _row(*fields: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for field in fields:
        row.addWidget(field, 1)
    return row
