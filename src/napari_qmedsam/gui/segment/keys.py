"""Keys of the panel: bound on its own layers only, each also a button."""

from collections.abc import Callable, Mapping

from napari.layers import Layer
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QVBoxLayout, QWidget

from napari_qmedsam.gui.segment.actions import KeyAction
from napari_qmedsam.gui.segment.refinement_layers import TOOLS
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.segment.workspaces import Workspaces

ACTIONS: tuple[KeyAction, ...] = (
    KeyAction(
        "draw_boxes",
        "N",
        "Box",
        "Draw a box; each one is a new object. Sides and handles below the mouse move "
        "and resize, a click picks a box up, Delete removes it, Escape gives up.",
    ),
    KeyAction(
        "add_key_box",
        "K",
        "Key box",
        "Put the object's box on this slice, to be adjusted; between key boxes the "
        "object is followed from both.",
    ),
    *TOOLS,
    KeyAction("segment_slice", "G", "Segment slice", "Segment the slice in view."),
    KeyAction(
        "segment_range",
        "Shift-G",
        "Segment range",
        "Segment the objects from their first to their last slice.",
    ),
    KeyAction(
        "propagate_up",
        "U",
        "Propagate up",
        "Propagate the masks of this slice to higher slices, until the objects end.",
    ),
    KeyAction(
        "propagate_down",
        "J",
        "Propagate down",
        "Propagate the masks of this slice to lower slices, until the objects end.",
    ),
    KeyAction("cancel", "Shift-Q", "Cancel", "Stop and keep the finished slices."),
    KeyAction("undo", "Q", "Undo", "Take the last change of masks or boxes back."),
    KeyAction("redo", "W", "Redo", "Make what was undone again."),
    KeyAction("save_labels", "Shift-W", "Save labels", "Write the labels to a file."),
    KeyAction("show_help", "H", "Keys", "Show this list."),
)
"""None of the keys is one of napari's on a shapes, points or labels layer."""


class KeyBindings:
    """Binds the keys on the workspaces' own layers, and takes them off again.

    Parameters
    ----------
    workspaces : Workspaces
    actions : mapping
        What to do, by the names in `ACTIONS`.
    """

    def __init__(
        self, workspaces: Workspaces, actions: Mapping[str, Callable[[], None]]
    ) -> None:
        self._actions = actions
        self._bound: list[Layer] = []
        workspaces.made.connect(self._workspace_made)
        workspaces.images.removed.connect(self.unbind)

    def bind(self, layer: Layer) -> None:
        """Bind the keys on one layer."""
        self._bound.append(layer)
        for action in ACTIONS:

            def run(
                _: Layer, do: Callable[[], None] = self._actions[action.name]
            ) -> None:
                do()

            layer.bind_key(action.key, run, overwrite=True)

    def unbind(self, layer: Layer) -> None:
        """Take the keys off a layer that has them."""
        if layer in self._bound:
            self._bound.remove(layer)
            for action in ACTIONS:
                layer.bind_key(action.key, None, overwrite=True)

    def _workspace_made(self, workspace: Workspace) -> None:
        for own in workspace.layers:
            if own.layer is not None:
                self.bind(own.layer)
        workspace.layer_taken.connect(self.bind)

    def close(self) -> None:
        """Take the keys off all layers."""
        for layer in list(self._bound):
            self.unbind(layer)


def tip(name: str) -> str:
    """Return the tooltip of an action's button: what it does, and its key."""
    action = next(action for action in ACTIONS if action.name == name)
    return f"{action.help} Key: {action.key.replace('-', '+')}."


class HelpDialog(QDialog):
    """The list of keys, and how the work goes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Segment: keys and steps")
        rows = "".join(
            f"<tr><td><b>{action.key.replace('-', '+')}</b></td>"
            f"<td style='padding-left:12px'>{action.button}</td>"
            f"<td style='padding-left:12px'>{action.help}</td></tr>"
            for action in ACTIONS
        )
        self.text = QLabel(
            "<p>Draw a box around a structure; its slice is segmented. Go to another "
            "slice, put a key box there and adjust it, or propagate the mask up and "
            "down. Correct a slice with its box, with points or with napari's brush, "
            "and propagate it from there.</p>"
            f"<table>{rows}</table>"
            "<p>The keys work while one of the panel's layers (boxes, points or "
            "labels) is selected.</p>",
            self,
        )
        self.text.setWordWrap(True)
        self.text.setMinimumWidth(560)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addWidget(buttons)
