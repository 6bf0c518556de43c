"""The image layers of a viewer, which one is worked on, and its workspace."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Layer, Shapes
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox

from napari_qmedsam.gui.segment import keys
from napari_qmedsam.gui.segment.box_layer import Edit
from napari_qmedsam.gui.segment.rectangles import ID
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.layers import VOLUME, is_scan
from napari_qmedsam.gui.shared.notices import Say, errors_shown

if TYPE_CHECKING:
    import napari


class ImageChoice(QObject):
    """Keeps a workspace for each image layer that was chosen, while it is there.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    combo : QComboBox
        Lists the image layers by their present names.
    methods : mapping
        What the keys do on the layers of the workspaces.
    say : callable
        Called with what is wrong with an image, or with what was drawn on it.
    parent : QObject
    """

    entered = Signal(object)
    """A workspace that has been made."""

    turned = Signal()
    """Another workspace, or none, is worked on from now on."""

    lost = Signal(object)
    """A workspace whose image has gone; it is closed afterwards."""

    changed = Signal()
    """Objects, colours or the labels layer of the workspace changed."""

    edited = Signal(object, object)
    """A workspace, and the boxes and points that the user changed."""

    losing = Signal()
    """The layer that is being worked on goes."""

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        combo: QComboBox,
        methods: Mapping[str, Callable[[], None]],
        say: Say,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.viewer, self.combo = viewer, combo
        self.workspace: Workspace | None = None
        self._methods, self._say = methods, say
        self._workspaces: dict[Image, Workspace] = {}
        self._images: list[Image] = []
        self._bound: list[Layer] = []

    def workspaces(self) -> Iterable[Workspace]:
        """Return all that there are."""
        return list(self._workspaces.values())

    def start(self) -> None:
        """Listen to the viewer, and work on its first image."""
        self.combo.activated.connect(self._chosen)
        layers = self.viewer.layers
        layers.events.inserted.connect(self._layer_added)
        layers.events.removed.connect(self._layer_removed)
        for layer in layers:
            layer.events.name.connect(self._list_images)
        self._list_images()

    def choose(self, layer: Image) -> None:
        """Work on another image layer."""
        index = self._images.index(layer)
        self.combo.setCurrentIndex(index)
        self._chosen(index)

    def close_down(self) -> None:
        """Let go of viewer and layers."""
        layers = self.viewer.layers
        layers.events.inserted.disconnect(self._layer_added)
        layers.events.removed.disconnect(self._layer_removed)
        for layer in layers:
            layer.events.name.disconnect(self._list_images)
        for layer in self._bound:
            keys.unbind(layer)
        self.workspace = None
        for workspace in self._workspaces.values():
            workspace.close()
        self._workspaces.clear()

    def _list_images(self) -> None:
        kept = None if self.workspace is None else self.workspace.image
        self._images = [x for x in self.viewer.layers if is_scan(x)]
        self.combo.clear()
        self.combo.addItems([layer.name for layer in self._images])
        if kept in self._images:
            self.combo.setCurrentIndex(self._images.index(kept))
        else:
            self._chosen(self.combo.currentIndex())

    def _chosen(self, index: int) -> None:
        self.workspace, is_new = None, False
        if 0 <= index < len(self._images):
            layer = self._images[index]
            with errors_shown(self._say):
                is_new = layer not in self._workspaces
                if is_new:
                    self._workspaces[layer] = Workspace(
                        self.viewer,
                        layer,
                        self._say,
                        self.changed.emit,
                        self._edited,
                        self._own_layer,
                    )
                self.workspace = self._workspaces[layer]
        self.turned.emit()
        self.changed.emit()
        if is_new and self.workspace is not None:
            self.entered.emit(self.workspace)

    def _edited(self, workspace: Workspace, edits: list[Edit]) -> None:
        self.edited.emit(workspace, edits)

    def _own_layer(self, layer: Layer) -> None:
        self._bound.append(layer)
        keys.bind(layer, self._methods)

    def _layer_added(self, event: Any) -> None:
        layer = event.value
        layer.events.name.connect(self._list_images)
        self._list_images()
        for workspace in self._workspaces.values():
            workspace.adopt(layer)
        self._follow_boxes(layer)

    def _follow_boxes(self, layer: Layer) -> None:
        """Go to the image that came with boxes, if nothing has been drawn yet."""
        if not (isinstance(layer, Shapes) and ID in layer.features):
            return
        if self.workspace is not None and self.workspace.session.objects:
            return
        volume = layer.metadata.get(VOLUME)
        for image in self._images:
            if volume is not None and image.metadata.get(VOLUME) is volume:
                # Our own first box layer is no reason to choose its image again.
                if self.workspace is None or image is not self.workspace.image:
                    self.choose(image)
                return

    def _layer_removed(self, event: Any) -> None:
        layer = event.value
        layer.events.name.disconnect(self._list_images)
        if self.workspace is not None and layer in (
            self.workspace.image,
            self.workspace.labels,
        ):
            self.losing.emit()
        if layer in self._bound:
            self._bound.remove(layer)
            keys.unbind(layer)
        workspace = self._workspaces.pop(layer, None)
        if workspace is not None:
            self.lost.emit(workspace)
            workspace.close()
        for other in self._workspaces.values():
            other.layer_removed(layer)
        self._list_images()
