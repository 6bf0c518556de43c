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

from napari_qmedsam.checkpoints.default_model import AUTO
from napari_qmedsam.gui.segment.keys import tip
from napari_qmedsam.gui.segment.object_table import ObjectTable
from napari_qmedsam.gui.segment.preview import Preview
from napari_qmedsam.gui.segment.refinement_layers import TOOLS
from napari_qmedsam.gui.segment.runner import SegmentOptions
from napari_qmedsam.gui.segment.window_form import WindowForm
from napari_qmedsam.gui.shared.forms import (
    Controls,
    StatusLine,
    button,
    column,
    combo_box,
    form,
    row,
)
from napari_qmedsam.gui.shared.icons import icon
from napari_qmedsam.gui.shared.model_form import ModelForm
from napari_qmedsam.segmentation.propagation import Follow

FOLLOWED = {Follow.BOX: "Boxes as drawn", Follow.MASK: "Follow the mask"}
"""How the slices of a range are prompted, as the panel says it."""

TABLE_HEIGHT = 118
"""Pixels that objects have at least, with what is offered above them."""


@dataclass
class SegmentChoices:
    """Choices in the panel Segment.

    Parameters
    ----------
    model, backend, precision : str
    follow : str
    protect : bool
    automatic : bool
        Segment a slice as soon as its box changes.
    folder : str
        Where files were opened from or saved to last.
    """

    NAME: ClassVar[str] = "segment-panel"

    model: str = AUTO
    backend: str = "openvino"
    precision: str = "fp32"
    follow: str = Follow.BOX.value
    protect: bool = False
    automatic: bool = True
    folder: str = ""


class SegmentControls(Controls):
    """Every control, without what it does."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, "What happens.")
        self.image = combo_box(self, "Image layer to segment.")
        self.view = combo_box(
            self,
            "Slices to look at and to draw boxes on; the model segments along them.",
        )
        self.planes = button(
            self, "", "Show all three planes and a 3D view beside each other, linked."
        )
        self.planes.setCheckable(True)
        self.planes.setMinimumWidth(30)
        self.planes.setIconSize(QSize(15, 15))
        self.models = ModelForm(self)
        self.runs = StatusLine(
            self,
            "What really runs: model, runtime, precision, device, speed, and size on "
            "disk and in memory.",
        )
        self.window_form = WindowForm(self)
        self.preview = Preview(self)
        self.table = ObjectTable(self)
        self.objects = QWidget(self)
        """Room of the table, which gives way to what is said of objects above it."""
        column(self.objects, (self.table, 1))
        self.objects.setMinimumHeight(TABLE_HEIGHT)
        self.follow = combo_box(
            self,
            "How a range is segmented: by the drawn boxes, followed from both where "
            "key boxes are apart, or from the middle on by the mask of its neighbour.",
        )
        for follow, title in FOLLOWED.items():
            self.follow.addItem(title, follow)
        self.automatic = QCheckBox("Segment as boxes change", self)
        self.automatic.setToolTip(
            "Segment a slice by itself when its box or points were drawn or changed."
        )
        self.protect = QCheckBox("Protect other labels", self)
        self.protect.setToolTip(
            "Keep the voxels of objects that are not being segmented."
        )
        self._make_buttons()
        self._arrange()

    def options(self) -> SegmentOptions:
        """Return how it is to be segmented."""
        return SegmentOptions(
            self.models.choice(),
            Follow(self.follow.currentData()),
            self.protect.isChecked(),
            self.automatic.isChecked(),
            self.models.needs_download(),
        )

    def put_above_objects(self, offer: QWidget) -> None:
        """Put something above the table, which gives way to it while it is shown."""
        layout = self.objects.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.insertWidget(0, offer)

    def set_ink(self, colour: str) -> None:
        """Draw the icons in another colour."""
        for made, name in self._icons.items():
            made.setIcon(icon(name, colour))
        self.planes.setIcon(icon("planes", colour))
        self.table.set_ink(colour)

    def _make_buttons(self) -> None:
        self._icons: dict[QPushButton, str] = {}
        self.buttons: dict[str, QPushButton] = {}
        """Those that keys work as well, by the names of their actions."""
        self.draw = self._key_button("draw_boxes", "Box", "box")
        self.key_box = self._key_button("add_key_box", "Key box", "key_box")
        self.tools = [
            self._key_button(tool.name, tool.text, tool.icon) for tool in TOOLS
        ]
        self.from_here = self._button(
            "From here", "Let the selected objects, or all, start on the slice in view."
        )
        self.to_here = self._button(
            "To here", "Let the selected objects, or all, end on the slice in view."
        )
        self.remove = self._button(
            "Remove", "Remove the selected objects with their voxels.", "remove"
        )
        self.up = self._key_button("propagate_up", "Up", "up")
        self.down = self._key_button("propagate_down", "Down", "down")
        self.on_slice = self._key_button("segment_slice", "Slice")
        self.on_range = self._key_button("segment_range", "Range")
        self.cancel = self._key_button("cancel", "Cancel")
        self.more = self._button(
            "Objects", "Report and score objects; take them over; name them."
        )
        self.undo = self._key_button("undo", "Undo", "undo")
        self.redo = self._key_button("redo", "Redo", "redo")
        self.save = self._key_button("save_labels", "Save…", "save")
        self.help = self._key_button("show_help", "Keys", "help")
        self.of_objects = (self.key_box, *self.tools, self.from_here, self.to_here)
        """Of use where there are objects."""
        self.of_masks = (self.remove, self.on_slice, self.on_range, self.up, self.down)
        """Of use where there are objects and nothing paints them."""

    def _key_button(self, action: str, text: str, icon_name: str = "") -> QPushButton:
        made = self._button(text, tip(action), icon_name)
        self.buttons[action] = made
        return made

    def _button(self, text: str, tooltip: str, name: str = "") -> QPushButton:
        made = button(self, text, tooltip)
        # napari's style sheets would not let four of them side by side.
        made.setMinimumWidth(40)
        if name:
            made.setIconSize(QSize(15, 15))
            self._icons[made] = name
        return made

    def _arrange(self) -> None:
        scan = row((self.image, 3), (self.view, 2), (self.planes, 0))
        fields = form(("Image", scan), ("Model", self.models))
        fields.setVerticalSpacing(6)
        fields.addRow(self.runs)
        fields.addRow(self.window_form)
        options = QVBoxLayout()
        options.setSpacing(4)
        options.addWidget(self.automatic)
        options.addWidget(self.protect)
        options.addWidget(self.follow)
        segment = QLabel("Segment", self)
        options.addLayout(row((segment, 0), self.on_slice, self.on_range))
        seen = QHBoxLayout()
        seen.addWidget(self.preview)
        seen.addLayout(options, 1)
        work, self.footer = QGridLayout(), QWidget(self)
        work.setContentsMargins(0, 0, 0, 0)
        propagate = QLabel("Propagate", self)
        propagate.setToolTip("From the masks on this slice to the slices beyond.")
        work.addWidget(propagate, 0, 0, 1, 2)
        work.addWidget(self.down, 0, 2, 1, 3)
        work.addWidget(self.up, 0, 5, 1, 3)
        work.addWidget(self.progress, 1, 0, 1, 4)
        work.addWidget(self.more, 1, 4, 1, 2)
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
            row(self.from_here, self.to_here, self.remove),
            row(self.draw, self.key_box, *self.tools),
            (self.objects, 1),
        )
        column(self.footer, work, self.status)
