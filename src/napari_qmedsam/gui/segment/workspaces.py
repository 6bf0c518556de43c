"""The workspaces of the images that were worked on, and which one is in hand."""

from typing import TYPE_CHECKING

from napari.layers import Image, Layer
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QComboBox

from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.canvas import frame
from napari_qmedsam.gui.shared.layer_chooser import LayerChooser
from napari_qmedsam.gui.shared.layer_placement import lie_together
from napari_qmedsam.gui.shared.layers import VOLUME, is_scan
from napari_qmedsam.gui.shared.notices import Say, errors_shown
from napari_qmedsam.gui.shared.rectangles import are_boxes

if TYPE_CHECKING:
    import napari

PREPARE_MS = 300
"""How long after an image was chosen its layers are made, one at a time."""


class Workspaces(QObject):
    """Keeps a workspace for each image layer that was chosen, while it is there.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    combo : QComboBox
        Lists the image layers.
    say : callable
        Called with what is wrong with an image, or with what was drawn on it.
    parent : QObject
    """

    made = Signal(object)
    """A workspace that is new."""

    turned = Signal()
    """Another workspace, or none, is in hand from now on."""

    losing = Signal()
    """The image or the labels of the workspace in hand go."""

    lost = Signal(object)
    """A workspace whose image has gone; it is closed afterwards."""

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        combo: QComboBox,
        say: Say,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.images: LayerChooser[Image] = LayerChooser(
            viewer, combo, lambda layers: [x for x in layers if is_scan(x)], self
        )
        self.current: Workspace | None = None
        self._say = say
        self._by_image: dict[Image, Workspace] = {}
        self._shown: Image | None = None
        self._preparing = QTimer(self)
        self._preparing.setSingleShot(True)
        self._preparing.setInterval(PREPARE_MS)
        self._preparing.timeout.connect(self._prepare)
        self._hidden: dict[Image, list[Layer]] = {}
        """Layers of the images not in hand that were hidden with them."""
        self.images.changed.connect(self._turn)
        self.images.added.connect(self._layer_added)
        self.images.removed.connect(self._layer_removed)

    def all(self) -> list[Workspace]:
        """Return all that there are."""
        return list(self._by_image.values())

    def close(self) -> None:
        """Let go of all layers, which stay as they are."""
        self._preparing.stop()
        self.images.close()
        self.current = None
        for workspace in self.all():
            workspace.close()
        self._by_image.clear()

    def _turn(self) -> None:
        """Go to the workspace of the image that is chosen."""
        image = self.images.chosen
        if image is self._shown and image is not None:
            return
        self.current, self._shown, is_new = None, image, False
        if image is not None:
            with errors_shown(self._say):
                is_new = image not in self._by_image
                if is_new:
                    self._by_image[image] = Workspace(self.viewer, image, self._say)
                self.current = self._by_image[image]
        if is_new and self.current is not None:
            self.made.emit(self.current)
        self._show_alone(image)
        self.turned.emit()
        self._preparing.start()

    def _prepare(self) -> None:
        """Make a layer ahead of use; come back for the next, so nothing stalls long."""
        if self.current is not None and self.current.prepare():
            self._preparing.start()

    def _show_alone(self, image: Image | None) -> None:
        """Hide the scans not in hand with what lies on them; show this one again."""
        if image is None:
            return
        others = [x for x in self.images.layers if x is not image]
        # Scans of one place are looked at in turn as they are.
        if not all(lie_together(image, other) for other in others):
            frame(self.viewer, image)
        for other in others:
            if other.visible:
                workspace = self._by_image.get(other)
                own = [] if workspace is None else [o.layer for o in workspace.layers]
                shown = [x for x in (other, *own) if x is not None and x.visible]
                self._hidden[other] = shown
                for layer in shown:
                    layer.visible = False
        for layer in self._hidden.pop(image, []):
            layer.visible = True
        image.visible = True

    def _layer_added(self, layer: Layer) -> None:
        for workspace in self.all():
            workspace.adopt(layer)
        if are_boxes(layer):
            self._go_to_image_of(layer)
        elif is_scan(layer) and layer is not self.images.chosen:
            self._go_to_new(layer)

    def _go_to_new(self, image: Image) -> None:
        """Take a scan into hand that was opened, unless work on another is done."""
        is_free = self.images.combo.isEnabled() and image in self.images.layers
        if is_free and image.metadata.get(VOLUME) not in self._volumes():
            self.images.choose(image)

    def _volumes(self) -> list[object]:
        """Return the volumes that are worked on; a copy of one is no other scan."""
        return [workspace.session.volume for workspace in self.all()]

    def _go_to_image_of(self, boxes: Layer) -> None:
        """Go to the image that came with boxes, if nothing has been drawn yet."""
        volume = boxes.metadata.get(VOLUME)
        if volume is None or (
            self.current is not None and self.current.session.objects
        ):
            return
        for image in self.images.layers:
            if image.metadata.get(VOLUME) is volume:
                self.images.choose(image)
                return

    def _layer_removed(self, layer: Layer) -> None:
        current = self.current
        if current is not None and layer in (current.image, current.labels_layer.layer):
            self.losing.emit()
        workspace = self._by_image.pop(layer, None)
        if workspace is not None:
            self.lost.emit(workspace)
            workspace.close()
        for other in self.all():
            other.layer_removed(layer)
