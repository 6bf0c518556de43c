"""The slice in view: its axis, its window, and how the model sees it."""

from collections.abc import Callable

from napari_qmedsam.gui.segment.preview import ModelInput
from napari_qmedsam.gui.segment.segment_controls import SegmentControls
from napari_qmedsam.gui.segment.window_form import presets_of
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.segment.workspaces import Workspaces
from napari_qmedsam.gui.shared.canvas import frame
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.volumes.reslicing import view_name
from napari_qmedsam.volumes.windows import Window

WHOLE, WHOLE_INDEX = "3D", 3
"""The view of the whole volume, after those of its three axes."""


class SliceDisplay:
    """Keeps viewer and controls at one on which slice is shown, and in which window.

    Parameters
    ----------
    workspaces : Workspaces
    controls : SegmentControls
    has_preview : bool
        Whether the model's input is shown.
    """

    def __init__(
        self,
        workspaces: Workspaces,
        controls: SegmentControls,
        has_preview: bool = True,
    ) -> None:
        self.viewer, self.controls = workspaces.viewer, controls
        self.workspace: Workspace | None = None
        self.config: ModelConfig | None = None
        """Of the model whose input is shown."""
        self.on_window: Callable[[], None] = lambda: None
        """Called when the image in hand was given another window."""
        self._has_preview = has_preview
        controls.preview.setVisible(has_preview)
        controls.window_form.window_chosen.connect(self._window_chosen)
        controls.view.activated.connect(self._axis_chosen)
        for event in self._events():
            event.connect(self.show_slice)
        workspaces.turned.connect(lambda: self.turn(workspaces.current))

    def close(self) -> None:
        """Stop listening to the viewer, which may outlive the panel."""
        for event in self._events():
            event.disconnect(self.show_slice)
        self.turn(None)

    def turn(self, workspace: Workspace | None) -> None:
        """Show the slice of another workspace, or none."""
        if workspace is self.workspace and workspace is not None:
            return
        if self.workspace is not None:
            events = self.workspace.image.events
            events.contrast_limits.disconnect(self._limits_changed)
        self.workspace = workspace
        self.controls.view.clear()
        if workspace is None:
            self.controls.preview.ask(None)
            self.controls.window_form.forget()
            return
        volume = workspace.session.volume
        decimals = 0 if volume.array.dtype.kind in "iu" else 3
        self.controls.window_form.offer(presets_of(volume), decimals)
        is_3d = workspace.image.ndim == 3
        for axis in range(3 if is_3d else 1):
            self.controls.view.addItem(view_name(volume, axis) if is_3d else "2D")
        if is_3d:
            self.controls.view.addItem(WHOLE)
        workspace.image.events.contrast_limits.connect(self._limits_changed)
        self.show_window()

    def show_window(self) -> None:
        """Show the window of the image, in numbers and as the model sees it."""
        if self.workspace is not None:
            self.controls.window_form.show_window(self.workspace.window())
            self.show_slice()

    def show_slice(self) -> None:
        """Show which view is looked at, and what the model sees of its slice."""
        workspace, config = self.workspace, self.config
        if workspace is not None:
            view = workspace.view
            self.controls.view.setCurrentIndex(WHOLE_INDEX if view.is_3d else view.axis)
        if workspace is None or config is None or not self._has_preview:
            self.controls.preview.ask(None)
            return
        axis, slice_index = workspace.view.place
        self.controls.preview.ask(
            ModelInput(
                workspace.session.volume, axis, slice_index, workspace.window(), config
            ),
            workspace.view.is_mirrored,
        )

    def _limits_changed(self) -> None:
        self.show_window()
        self.on_window()

    def _window_chosen(self, window: Window) -> None:
        if self.workspace is not None:
            self.workspace.show_window(window)
            self.show_window()

    def _axis_chosen(self, axis: int) -> None:
        if axis == WHOLE_INDEX:
            self.viewer.dims.ndisplay = 3
            if self.workspace is not None:
                frame(self.viewer, self.workspace.image)
            return
        if self.workspace is not None:
            self.workspace.look_along(axis)

    def _events(self) -> tuple:
        events = self.viewer.dims.events
        return events.current_step, events.order, events.ndisplay
