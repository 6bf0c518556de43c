"""Which slice of an image is in view, and going to another one.

Slices are told by the array axis that they lie across and their index along it;
a 2D image is one slice across axis 0.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.shared.canvas import camera_of, frame
from napari_qmedsam.gui.shared.layers import VOLUME
from napari_qmedsam.segmentation.history import Slice
from napari_qmedsam.volumes.grid import SUPERIOR, anatomical_axes
from napari_qmedsam.volumes.reslicing import axis_order
from napari_qmedsam.volumes.volume import Volume

if TYPE_CHECKING:
    import napari


class SliceView:
    """The slice of an image that a viewer shows.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    image : Image
    """

    def __init__(self, viewer: "napari.viewer.Viewer", image: Image) -> None:
        self.viewer, self.image = viewer, image

    @property
    def is_3d(self) -> bool:
        """Whether the viewer shows volumes as a whole."""
        return self.viewer.dims.ndisplay == 3

    @property
    def axis(self) -> int:
        """The array axis that the slices in view lie across; 0 in a 3D view."""
        dims = self.viewer.dims
        if self.image.ndim == 2 or self.is_3d:
            return 0
        first = dims.ndim - 3
        hidden = [axis - first for axis in dims.not_displayed if axis >= first]
        return hidden[-1] if hidden else 0

    @property
    def slice_index(self) -> int:
        """The slice that is shown, along `axis`."""
        return self.place[1]

    @property
    def place(self) -> Slice:
        """Axis and index of the slice that is shown."""
        if self.image.ndim == 2:
            return 0, 0
        axis = self.axis
        position = self.image.world_to_data(self.viewer.dims.point)[axis]
        return axis, int(np.clip(np.rint(position), 0, self._shape[axis] - 1))

    @property
    def is_outside(self) -> bool:
        """Whether the slider stands beyond the image, where other layers are longer."""
        if self.image.ndim == 2 or self.is_3d:
            return False
        axis = self.axis
        position = self.image.world_to_data(self.viewer.dims.point)[axis]
        return not -0.5 <= position <= self._shape[axis] - 0.5

    def here(self) -> Slice:
        """Return axis and index of the slice in view, for what is to be done to it.

        Raises
        ------
        InvalidSettings
            If the slider stands beyond the image.
        """
        if self.is_outside:
            first, last = self.span(self.axis)
            raise InvalidSettings(
                f"The slider is beyond '{self.image.name}', which reaches from slice "
                f"{first} to {last}."
            )
        return self.place

    def number(self, slice_index: int, axis: int = 0) -> int:
        """Return what the viewer's slider shows on a slice of the image.

        napari counts from the lowest place in the world that a layer has: against the
        array's index where an axis is flipped, and not from 0 where another layer
        begins earlier.
        """
        first, step = self._slider(axis)
        return round(first + step * slice_index)

    def index(self, number: int, axis: int = 0) -> int:
        """Return the slice on which the slider shows a number, within the image."""
        first, step = self._slider(axis)
        return int(np.clip(round((number - first) / step), 0, self._shape[axis] - 1))

    def is_flipped(self, axis: int = 0) -> bool:
        """Tell whether the slider counts against the array's index."""
        return self._slider(axis)[1] < 0

    def span(self, axis: int = 0) -> tuple[int, int]:
        """Return the lowest and the highest number that slices of the image have."""
        last = 0 if self.image.ndim == 2 else self._shape[axis] - 1
        ends = self.number(0, axis), self.number(last, axis)
        return min(ends), max(ends)

    def go_to(self, slice_index: int, axis: int = 0) -> None:
        """Show a slice, across the axis if that is not in view."""
        if self.image.ndim == 2:
            return
        self.look_along(axis)
        middle = [n / 2 for n in self._shape]
        middle[axis] = slice_index
        self.meet(middle)

    def meet(self, place: Sequence[float]) -> None:
        """Let the planes of all views meet at a voxel (z, y, x)."""
        dims = self.viewer.dims
        first = dims.ndim - 3
        dims.set_point(range(first, first + 3), self.image.data_to_world(place))

    def look_along(self, axis: int) -> None:
        """Show slices across an axis; what else is displayed stays."""
        dims = self.viewer.dims
        is_seen = dims.ndisplay == 2 and self.axis == axis
        if self.image.ndim == 2 or is_seen:
            return
        dims.ndisplay = 2
        first = dims.ndim - 3
        dims.order = (*range(first), *(first + i for i in axis_order(axis)))
        self._turn_upright(axis)
        frame(self.viewer, self.image)

    def _slider(self, axis: int) -> tuple[float, float]:
        """Return the slider's number on slice 0, and its step from slice to slice."""
        if self.image.ndim == 2:
            return 0.0, 1.0
        origin, unit = np.zeros(3), np.eye(3)[axis]
        world, dims = self.image.data_to_world, self.viewer.dims
        start, _, each = dims.range[dims.ndim - 3 + axis]
        first = (world(origin)[axis] - start) / (each or 1)
        step = (world(unit)[axis] - world(origin)[axis]) / (each or 1)
        # Turned so far that the slider runs along another axis, it counts nothing.
        return (first, step) if abs(step) > 1e-3 else (0.0, 1.0)

    @property
    def is_mirrored(self) -> tuple[bool, bool]:
        """Whether rows and columns of the slice in view run against the screen."""
        axes = axis_order(self.axis)[1:] if self.image.ndim == 3 else (0, 1)
        origin = np.asarray(self.image.data_to_world(np.zeros(self.image.ndim)))
        ends = [
            np.asarray(self.image.data_to_world(np.eye(self.image.ndim)[axis]))
            for axis in axes
        ]
        rows, columns = (
            bool((end - origin)[axis] < 0) for end, axis in zip(ends, axes, strict=True)
        )
        turned = str(getattr(camera_of(self.viewer), "orientation2d", ("down",))[0])
        return rows != (turned.lower().endswith("up")), columns

    def _turn_upright(self, axis: int) -> None:
        volume = self.image.metadata.get(VOLUME)
        if volume is not None:
            turn_upright(camera_of(self.viewer), volume, axis_order(axis)[1])

    @property
    def _shape(self) -> tuple[int, ...]:
        image = self.image
        return (image.data[0] if image.multiscale else image.data).shape[:3]


def turn_upright(camera: Any, volume: Volume, rows: int) -> None:
    """Let the patient's head be up where rows run from foot to head.

    napari can turn the screen from 0.6 on; the display world stays.

    Parameters
    ----------
    camera
        Of a viewer.
    volume : Volume
    rows : int
        Array axis that runs down the screen.
    """
    if hasattr(camera, "orientation2d"):
        is_head = anatomical_axes(volume.affine)[rows] == SUPERIOR
        camera.orientation2d = ("up" if is_head else "down", "right")
