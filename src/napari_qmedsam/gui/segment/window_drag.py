"""Level and width of the window by dragging the mouse with Ctrl (Cmd on a Mac)."""

from collections.abc import Iterator
from typing import Any

from napari_qmedsam.gui.segment.workspaces import Workspaces
from napari_qmedsam.volumes.windows import Window

MODIFIER = "Control"
"""As napari calls it; on a Mac it is Cmd."""

PIXELS = 250
"""A drag over so many pixels changes level or width by the width at its start."""

LEAST = 1e-3
"""Share of the width at the start below which a drag makes no window narrower."""


class WindowDrag:
    """Drags to the right widen the window, drags downwards raise its level.

    As in other viewers of scans: up is brighter, right has less contrast. It works
    whatever layer and tool are chosen; the tool does nothing meanwhile.
    """

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces
        workspaces.viewer.mouse_drag_callbacks.append(self._drag)

    def close(self) -> None:
        """Let go of the viewer."""
        self._workspaces.viewer.mouse_drag_callbacks.remove(self._drag)

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        workspace = self._workspaces.current
        is_meant = MODIFIER in event.modifiers and viewer.dims.ndisplay == 2
        if not is_meant or workspace is None or workspace.image.rgb:
            return
        layer = viewer.layers.selection.active
        mode, selected = getattr(layer, "mode", None), None
        if mode is not None:
            selected = getattr(layer, "selected_data", None)
            selected = None if selected is None else set(selected)
            layer.mode = "pan_zoom"
        start, before = event.pos, workspace.window()
        event.handled = True  # or napari would move the image
        yield
        while event.type == "mouse_move":
            event.handled = True
            right, down = (event.pos[i] - start[i] for i in range(2))
            workspace.show_window(dragged(before, right, down))
            yield
        if mode is not None and layer in viewer.layers:
            layer.mode = mode
            if selected is not None:
                layer.selected_data = selected


def dragged(window: Window, right: float, down: float) -> Window:
    """Return a window after a drag over so many pixels."""
    width = window.width
    wide = max(width * (1 + right / PIXELS), width * LEAST)
    return Window.of_level(window.level + width * down / PIXELS, wide)
