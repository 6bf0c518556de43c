"""The image and the labels layer that variants are compared on."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.shared.layers import RESULT

if TYPE_CHECKING:
    import napari


class LayerPair(QObject):
    """Offers a viewer's image and labels layers, by their present names.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    images, labels : QComboBox
        List the layers.
    is_ours : callable
        Tells layers that a comparison made, which are not offered.
    parent : QObject
    """

    changed = Signal()
    """Other layers are there, or another image was chosen."""

    removed = Signal(object)
    """A layer that has gone."""

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        images: QComboBox,
        labels: QComboBox,
        is_ours: Callable[[Layer], bool],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.viewer, self._is_ours = viewer, is_ours
        self._combos = images, labels
        self._images: list[Image] = []
        self._labels: list[Labels] = []

    def start(self) -> None:
        """Listen to the viewer and list its layers."""
        self._combos[0].activated.connect(lambda _: self.changed.emit())
        layers = self.viewer.layers
        layers.events.inserted.connect(self._layer_added)
        layers.events.removed.connect(self._layer_removed)
        for layer in layers:
            layer.events.name.connect(self._list)
        self._list()

    def close_down(self) -> None:
        """Let go of viewer and layers."""
        layers = self.viewer.layers
        layers.events.inserted.disconnect(self._layer_added)
        layers.events.removed.disconnect(self._layer_removed)
        for layer in layers:
            layer.events.name.disconnect(self._list)

    def chosen_image(self) -> Image | None:
        """Return the image layer that is chosen, if there is any."""
        index = self._combos[0].currentIndex()
        return self._images[index] if index >= 0 else None

    def image(self) -> Image:
        """Return the image layer that is chosen.

        Raises
        ------
        InvalidSettings
            If there is none.
        """
        image = self.chosen_image()
        if image is None:
            raise InvalidSettings(
                "There is no image to compare on. Open one, or File > Open Sample > "
                "QMedSAM."
            )
        return image

    def reference(self) -> NDArray:
        """Return the chosen labels as (Z, Y, X).

        Raises
        ------
        InvalidSettings
            If there are none.
        """
        index = self._combos[1].currentIndex()
        if index < 0:
            raise InvalidSettings(
                "There are no labels to compare with. Open a labels layer on the grid "
                "of the image, or choose masks that you have corrected."
            )
        data = np.asarray(self._labels[index].data)
        return data if self.image().ndim == 3 else data[np.newaxis]

    def _list(self) -> None:
        layers = [x for x in self.viewer.layers if not self._is_ours(x)]
        images, labels = self._combos
        shown = [x for x in layers if isinstance(x, Image)]
        self._images = _offer(images, shown, self._images, shown)
        painted = [x for x in layers if isinstance(x, Labels)]
        # What the panel Segment painted is nobody's truth by itself: a model that
        # is compared with its own masks would seem right.
        truths = [x for x in painted if not x.metadata.get(RESULT)]
        results = [x for x in painted if x not in truths]
        self._labels = _offer(labels, truths + results, self._labels, truths)
        self.changed.emit()

    def _layer_added(self, event: Any) -> None:
        event.value.events.name.connect(self._list)
        self._list()

    def _layer_removed(self, event: Any) -> None:
        event.value.events.name.disconnect(self._list)
        self.removed.emit(event.value)
        self._list()


def _offer(combo: QComboBox, layers: list, before: list, first: list) -> list:
    """Fill a combo with layers, keeping the one that was chosen.

    Where it has gone, the first of `first` is chosen, or none.
    """
    index = combo.currentIndex()
    kept = before[index] if 0 <= index < len(before) else None
    combo.clear()
    combo.addItems([layer.name for layer in layers])
    if kept not in layers:
        kept = first[0] if first else None
    combo.setCurrentIndex(layers.index(kept) if kept is not None else -1)
    return layers
