"""The controls of the panel "Compare" and how they are arranged."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSlider, QWidget

from napari_qmedsam.evaluation.rules import TOLERANCE_MM
from napari_qmedsam.gui.compare.comparison_layers import MaskView
from napari_qmedsam.gui.compare.size_plot import SizePlot
from napari_qmedsam.gui.compare.variant_table import VariantTable
from napari_qmedsam.gui.shared.forms import (
    Controls,
    StatusLine,
    button,
    column,
    combo_box,
    form,
    row,
    tolerance_field,
    work_grid,
)

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


@dataclass
class CompareChoices:
    """Choices in the panel Compare.

    Parameters
    ----------
    boxes, scope : str
        Entries of the controls of these names; empty for what a control starts with.
    tolerance : float
        In mm.
    """

    NAME: ClassVar[str] = "compare-panel"

    boxes: str = ""
    scope: str = ""
    tolerance: float = TOLERANCE_MM


class CompareControls(Controls):
    """Every control, without what it does."""

    def __init__(self, viewer: "napari.viewer.Viewer", parent: QWidget) -> None:
        super().__init__(parent, "What happens, and what the figures were measured on.")
        self.image = combo_box(self, "Image layer that is segmented.")
        self.labels = combo_box(self, "Labels layer that counts as the truth.")
        self.labels.setPlaceholderText("Choose…")
        self.boxes = combo_box(
            self,
            "Prompt with the boxes drawn on the image, or with a tight box around "
            "each label.",
        )
        self.boxes.addItems([DRAWN, AROUND])
        self.scope = combo_box(
            self, "Segment and score all slices of the boxes, or the slice in view."
        )
        self.scope.addItems([RANGE, SLICE])
        self.tolerance = tolerance_field(self)
        self.spacing = StatusLine(self, "Voxel size of the image along z, y and x.")
        self.scores = combo_box(self, "Object whose scores the table shows.", 2)
        self.scores.addItem(MEAN, None)
        self.table = VariantTable(self)
        self.plot = SizePlot(viewer)
        self.view = combo_box(
            self,
            "Show the masks of the variants as layers, side by side in a grid, one "
            "after the other in place, or left and right of a divider.",
            2,
        )
        self.view.addItems([view.value for view in MaskView])
        self.left = combo_box(self, "Variant left of the divider.", 2)
        self.right = combo_box(self, "Variant right of the divider.", 2)
        self.divider = QSlider(Qt.Orientation.Horizontal, self)
        self.divider.setRange(0, DIVIDER_STEPS)
        self.divider.setToolTip(
            "Place of the divider, which can be dragged in the picture as well."
        )
        self._make_buttons()
        self._arrange()

    def _make_buttons(self) -> None:
        self.compare = button(
            self, "Compare", "Run the ticked variants on the same boxes and score them."
        )
        self.cancel = button(self, "Cancel", "Stop; variants that are done stay.")
        self.differences = button(
            self, "Differences", "Add a layer of the voxels on which variants differ."
        )
        self.distance = button(
            self,
            "Distance",
            "Add a layer of the signed distance from the selected variant's surface to "
            "that of the labels.",
        )
        self.copy_csv = button(self, "Copy CSV", "Copy the table as CSV.")
        self.copy_markdown = button(self, "Copy MD", "Copy the table as Markdown.")
        self.save = button(self, "Save…", "Write the table as CSV or Markdown.")

    def _arrange(self) -> None:
        self.sides = QWidget(self)
        self.sides.setLayout(row((self.left, 2), self.divider, (self.right, 2)))
        self.sides.hide()
        column(
            self,
            form(
                ("Image", self.image),
                ("Labels", self.labels),
                ("Boxes", row(self.boxes, self.scope)),
                ("Tolerance", row(self.tolerance, self.spacing)),
            ),
            work_grid(self.compare, self.cancel, self.progress),
            self.status,
            (self.table, 2),
            row(self.copy_csv, self.copy_markdown, self.save),
            row(
                (QLabel("Scores", self), 0),
                (self.scores, 3),
                (QLabel("Masks", self), 0),
                (self.view, 2),
            ),
            self.sides,
            row(self.differences, self.distance),
            (self.plot, 1),
        )
