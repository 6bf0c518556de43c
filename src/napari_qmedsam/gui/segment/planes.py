"""All three planes and a 3D view beside each other, by napari-orthogonal-views."""

from collections.abc import Callable, Iterable
from typing import Any

from napari.layers import Labels, Layer
from qtpy.QtCore import QObject, QTimer, Signal

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.orthogonal_views import place_in_world
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.segment.workspaces import Workspaces
from napari_qmedsam.gui.shared.canvas import camera_of, frame
from napari_qmedsam.gui.shared.navigation import turn_upright
from napari_qmedsam.volumes.reslicing import axis_order, view_name

MISSING = (
    "Planes beside each other need the package napari-orthogonal-views: "
    "pip install 'napari-qmedsam[gui]'"
)

SHARE = 0.45
"""Of the picture's width and height that the other views get."""

REFRESH_MS = 250
"""How long views wait for more slices before they show new masks."""


class Planes(QObject):
    """Shows the planes that are not in the picture, and the volume as a whole.

    They follow the picture: slices, layers, windows, colours and masks. To draw in is
    the picture alone; a click on a slider of theirs moves all views.
    """

    changed = Signal()
    """Shown or hidden, here or by the plugin's own commands."""

    def __init__(self, workspaces: Workspaces) -> None:
        super().__init__(workspaces)
        self.viewer = workspaces.viewer
        self._workspaces = workspaces
        self._manager: Any = None
        self._whole: Any = None
        self._refresh = QTimer(self)
        self._refresh.setSingleShot(True)
        self._refresh.setInterval(REFRESH_MS)
        self._refresh.timeout.connect(self._refresh_planes)
        workspaces.made.connect(self._workspace_made)

    @property
    def are_shown(self) -> bool:
        """Whether there is more than the picture."""
        return self._whole is not None and self._manager.is_shown()

    def is_possible(self, workspace: Workspace | None) -> bool:
        """Tell whether an image has other planes, in a window that can show them."""
        is_3d = workspace is not None and workspace.image.ndim == 3
        return is_3d and hasattr(self.viewer, "window")

    def show(self) -> None:
        """Show them.

        Raises
        ------
        InvalidSettings
            If the plugin is not installed.
        """
        try:
            place_in_world()
            from napari_orthogonal_views.ortho_view_manager import _get_manager
        except ImportError as error:
            raise InvalidSettings(MISSING) from error
        self.viewer.dims.ndisplay = 2
        manager = _get_manager(getattr(self.viewer, "__wrapped__", self.viewer))
        if manager is not self._manager:
            self._manager = manager
            manager.set_sync_filters(
                {Layer: {"reverse_exclude": "*", "forward_exclude": {"editable"}}}
            )
            manager.set_layer_hook("layer_tool", _only_seen)
            shown = manager.main_controls_widget.show_orth_views
            shown.connect(lambda _: self._complete())
        manager.show()
        self._complete()
        workspace = self._workspaces.current
        if workspace is not None:
            # The plugin has gone to the middle of the scan.
            workspace.look_at_selected()

    def hide(self) -> None:
        """Show the picture alone."""
        if self._manager is not None:
            self._manager.hide()
            self._complete()

    def close(self) -> None:
        """Let go of the viewer."""
        self._refresh.stop()
        self.hide()

    # Helpers --------------------------------------------------------------

    def _complete(self) -> None:
        """Put the view in 3D beside the plugin's two, or take it away with them."""
        manager = self._manager
        if manager.is_shown() and self._whole is None:
            from napari_orthogonal_views.ortho_view_widget import OrthoViewWidget

            self._whole = OrthoViewWidget(
                manager.viewer,
                sync_filters=manager.sync_filters,
                layer_hooks=dict(manager.layer_hooks),
            )
            self._models[-1].dims.ndisplay = 3
            self.viewer.dims.events.order.connect(self._turn)
            self.viewer.events.reset_view.connect(self._view_reset)
            self._turn()
            manager.controls_tab.insertTab(0, self._whole, "3D")
            manager.controls_tab.setCurrentIndex(0)
            manager.set_cross_hairs(True)
            manager.set_axes(False)
            manager.set_splitter_sizes(SHARE, SHARE)
        elif not manager.is_shown() and self._whole is not None:
            whole, self._whole = self._whole, None
            self.viewer.dims.events.order.disconnect(self._turn)
            self.viewer.events.reset_view.disconnect(self._view_reset)
            whole.cleanup()
            manager.controls_tab.removeTab(manager.controls_tab.indexOf(whole))
            whole.deleteLater()
            # Nor is anything of the plugin left in the window.
            self._manager = None
            manager.cleanup()
        # Once all canvases have their sizes.
        QTimer.singleShot(0, self._frame_all)
        self.changed.emit()

    @property
    def _models(self) -> list[Any]:
        """The viewers of the two planes and of the volume."""
        if not self.are_shown:
            return []
        views = self._manager.right_widget, self._manager.bottom_widget, self._whole
        return [view.vm_container.viewer_model for view in views]

    def _turn(self) -> None:
        """Show the planes as radiologists do, and the volume from the front.

        The plugin would have the patient lie on one side, or on the head.
        """
        workspace, manager = self._workspaces.current, self._manager
        if workspace is None or not self.are_shown:
            return
        volume, dims = workspace.session.volume, self.viewer.dims
        first = dims.ndim - 3
        seen = [axis - first for axis in dims.order[-3:]]
        coronal = [view_name(volume, axis) for axis in range(3)].index("coronal")
        orders = [axis_order(axis) for axis in (seen[2], seen[1], coronal)]
        views = manager.right_widget, manager.bottom_widget, self._whole
        for view, order in zip(views, orders, strict=True):
            # Counted from the end, among the axes of the picture.
            view.order = tuple(seen.index(axis) - 3 for axis in order)
        manager.update_dims_order()
        for model, order in zip(self._models, orders, strict=True):
            model.dims.order = (*dims.order[:-3], *(first + axis for axis in order))
            turn_upright(camera_of(model), volume, order[1])
            if model.dims.ndisplay == 3 and hasattr(camera_of(model), "orientation"):
                camera = camera_of(model)
                camera.orientation = ("away", *camera.orientation[1:])

    def _frame_all(self) -> None:
        workspace = self._workspaces.current
        if workspace is not None and workspace.image in self.viewer.layers:
            frame(self.viewer, workspace.image)

    def _frame_others(self) -> None:
        """Let the image fill the other views; the plugin shows all that there is."""
        workspace = self._workspaces.current
        name = "" if workspace is None else workspace.image.name
        for model in self._models:
            if name in model.layers:
                frame(model, model.layers[name])

    def _view_reset(self) -> None:
        # After the plugin has had its turn.
        QTimer.singleShot(0, self._frame_others)

    def _workspace_made(self, workspace: Workspace) -> None:
        workspace.redrawn.connect(self._redrawn)

    def _redrawn(self, is_whole: bool) -> None:
        """Masks changed, of one slice or of all."""
        if not self.are_shown:
            return
        if is_whole:
            self._refresh_labels(self._models)
        else:
            self._refresh.start()

    def _refresh_planes(self) -> None:
        # In 3D all of the labels go to the graphics card: at the end, not meanwhile.
        self._refresh_labels(self._models[:2])

    def _refresh_labels(self, models: Iterable[Any]) -> None:
        for model in models:
            for layer in model.layers:
                if isinstance(layer, Labels) and layer.visible:
                    layer.refresh(thumbnail=False, extent=False)


def _only_seen(original: Layer, copy: Layer) -> list[tuple[Any, Callable]]:
    """Let a copy of a layer be shown where the layer is, and not be drawn on.

    What is drawn on a copy would not be a step of undo, nor an object of the table.
    """

    def follow() -> None:
        copy.visible = original.visible

    copy.editable = False
    follow()
    original.events.visible.connect(follow)
    return [(original.events.visible, follow)]
