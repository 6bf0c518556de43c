"""A combo box that lists a viewer's layers of one kind, and which one is chosen."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic

from napari.layers import Layer
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox

from napari_qmedsam.gui.shared.session_layer import LayerType

if TYPE_CHECKING:
    import napari

Offer = Callable[[Iterable[Layer]], list[LayerType]]
"""Returns, of a viewer's layers, those that are offered, in the order shown."""


class LayerChooser(QObject, Generic[LayerType]):
    """Offers layers by their present names; the chosen one stays so while it is there.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    combo : QComboBox
    offer : callable
    parent : QObject
    is_default : callable
        Tells layers that may be chosen by themselves, the first visible of them
        where the chosen one has gone.
    """

    changed = Signal()
    """Other layers are listed, or another one was chosen."""

    added = Signal(object)
    """A layer of any kind that has come, after it was listed."""

    removed = Signal(object)
    """A layer of any kind that has gone, before the list is made anew."""

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        combo: QComboBox,
        offer: Offer[LayerType],
        parent: QObject,
        is_default: Callable[[LayerType], bool] = lambda _: True,
    ) -> None:
        super().__init__(parent)
        self.viewer, self.combo = viewer, combo
        self.layers: list[LayerType] = []
        """Those offered."""
        self._offer, self._is_default = offer, is_default

    @property
    def chosen(self) -> LayerType | None:
        """The layer that is chosen, if there is any."""
        index = self.combo.currentIndex()
        return self.layers[index] if 0 <= index < len(self.layers) else None

    def start(self) -> None:
        """Listen to the viewer and list its layers."""
        self.combo.activated.connect(lambda _: self.changed.emit())
        layers = self.viewer.layers
        layers.events.inserted.connect(self._layer_added)
        layers.events.removed.connect(self._layer_removed)
        for layer in layers:
            layer.events.name.connect(self._list)
        self._list()

    def choose(self, layer: LayerType) -> None:
        """Choose another of the layers offered."""
        self.combo.setCurrentIndex(self.layers.index(layer))
        self.changed.emit()

    def close(self) -> None:
        """Let go of viewer and layers."""
        layers = self.viewer.layers
        layers.events.inserted.disconnect(self._layer_added)
        layers.events.removed.disconnect(self._layer_removed)
        for layer in layers:
            layer.events.name.disconnect(self._list)

    def _list(self) -> None:
        chosen = self.chosen
        self.layers = self._offer(self.viewer.layers)
        self.combo.clear()
        self.combo.addItems([layer.name for layer in self.layers])
        if chosen not in self.layers:
            found = [x for x in self.layers if self._is_default(x)]
            # Of several scans the one in view is meant; the others were hidden.
            found.sort(key=lambda layer: not layer.visible)
            chosen = next(iter(found), None)
        index = -1 if chosen is None else self.layers.index(chosen)
        self.combo.setCurrentIndex(index)
        self.changed.emit()

    def _layer_added(self, event: Any) -> None:
        event.value.events.name.connect(self._list)
        self._list()
        self.added.emit(event.value)

    def _layer_removed(self, event: Any) -> None:
        event.value.events.name.disconnect(self._list)
        self.removed.emit(event.value)
        self._list()
