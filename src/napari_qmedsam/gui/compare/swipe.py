"""Two variants in one labels layer, left and right of a divider one can drag."""

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_qmedsam.gui.shared.canvas import camera_of
from napari_qmedsam.gui.shared.colours import label_colours

if TYPE_CHECKING:
    import napari

DIVIDER = np.iinfo(np.uint16).max
"""Label of the divider's voxels; objects are numbered from 1 up."""

GRASP = 8.0
"""How near to the divider one has to press, in pixels of the screen."""


class Swipe:
    """Shows one array left of a divider, another one right of it.

    The divider is a plane of voxels across the screen's horizontal axis,
    whichever axis of the volume that is. Moving it repaints what it passed.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    layer : Labels
        In the viewer; its data are ours to paint, (Y, X) or (Z, Y, X) uint16.
    left, right : ndarray
        Of the layer's shape.
    on_move : callable
        Called with the share of the width left of the divider when the user
        drags it.
    """

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        layer: Labels,
        left: NDArray[np.uint16],
        right: NDArray[np.uint16],
        on_move: Callable[[float], None],
    ) -> None:
        self.viewer, self.layer, self.share = viewer, layer, 0.5
        self._left, self._right, self._on_move = left, right, on_move
        self._axis, self._is_mirrored = self._horizontal()
        self._paint()
        viewer.dims.events.order.connect(self._turned)
        viewer.dims.events.ndisplay.connect(self._turned)
        layer.mouse_drag_callbacks.append(self._dragged)

    def move(self, share: float) -> None:
        """Put the divider elsewhere: 0 at the left end of the image, 1 at the right."""
        before = self._position
        self.share = float(np.clip(share, 0.0, 1.0))
        after = self._position
        if after != before:
            self._paint(min(before, after), max(before, after) + 1)

    def close(self) -> None:
        """Let go of viewer and layer."""
        self.viewer.dims.events.order.disconnect(self._turned)
        self.viewer.dims.events.ndisplay.disconnect(self._turned)
        self.layer.mouse_drag_callbacks.remove(self._dragged)

    # Helpers --------------------------------------------------------------

    @property
    def _position(self) -> int:
        """Index of the divider along its axis."""
        depth = self.layer.data.shape[self._axis]
        share = 1 - self.share if self._is_mirrored else self.share
        return min(int(share * depth), depth - 1)

    def _horizontal(self) -> tuple[int, bool]:
        """Return the array axis along the screen, and whether it runs leftwards."""
        layer, dims = self.layer, self.viewer.dims
        axis = dims.displayed[-1] - (dims.ndim - layer.ndim)
        steps = np.zeros((2, layer.ndim))
        steps[1, axis] = 1
        start, end = (layer.data_to_world(step)[axis] for step in steps)
        return axis, end < start

    def _paint(self, start: int = 0, stop: int | None = None) -> None:
        """Fill the layer's voxels from start to stop along the divider's axis."""
        data, here = self.layer.data, self._position
        stop = data.shape[self._axis] if stop is None else stop
        sides = (self._left, self._right)
        low, high = sides[::-1] if self._is_mirrored else sides
        for array, first, last in (
            (low, start, min(here, stop)),
            (high, max(here, start), stop),
        ):
            part = self._slab(first, last)
            data[part] = array[part]
        data[self._slab(here, here + 1)] = DIVIDER
        self.layer.refresh(thumbnail=False, extent=False)

    def _slab(self, first: int, last: int) -> tuple[slice, ...]:
        whole = [slice(None)] * self.layer.ndim
        whole[self._axis] = slice(first, max(first, last))
        return tuple(whole)

    def _turned(self) -> None:
        """Put the divider across the axis that is horizontal now."""
        now = self._horizontal()
        if now != (self._axis, self._is_mirrored):
            self._axis, self._is_mirrored = now
            self._paint()

    def _share_at(self, world: Iterable[float]) -> float:
        """Return the share of the width left of a point in the world."""
        along = self.layer.world_to_data(world)[self._axis] + 0.5
        share = float(along) / self.layer.data.shape[self._axis]
        return 1 - share if self._is_mirrored else share

    def _dragged(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        """Move the divider with the mouse, if it was pressed on the divider."""
        width = abs(self._width_in_pixels())
        if abs(self._share_at(event.position) - self.share) * width > GRASP:
            return
        event.handled = True  # or napari would move the image
        yield
        while event.type == "mouse_move":
            event.handled = True
            self.move(self._share_at(event.position))
            self._on_move(self.share)
            yield

    def _width_in_pixels(self) -> float:
        ends = np.zeros((2, self.layer.ndim))
        ends[1, self._axis] = self.layer.data.shape[self._axis]
        start, end = (self.layer.data_to_world(x)[self._axis] for x in ends)
        return float(end - start) * camera_of(self.viewer).zoom


def swipe_colours(object_ids: Iterable[int]) -> DirectLabelColormap:
    """Return the objects' usual colours, and white for the divider."""
    usual = label_colours()
    table: dict[int | None, Any] = {i: usual.map(np.uint16(i)) for i in object_ids}
    table |= {0: np.zeros(4), DIVIDER: np.ones(4), None: np.ones(4)}
    return DirectLabelColormap(color_dict=table)
