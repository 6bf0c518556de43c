"""Which slice of an image is in view, and going to another one.

Slices are told by the array axis that they lie across and their index along it;
a 2D image is one slice across axis 0.
"""

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_qmedsam.gui.shared.canvas import camera_of
from napari_qmedsam.gui.shared.layers import VOLUME
from napari_qmedsam.segmentation.history import Slice
from napari_qmedsam.volumes.grid import SUPERIOR, anatomical_axes
from napari_qmedsam.volumes.reslicing import axis_order

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

    def go_to(self, slice_index: int, axis: int = 0) -> None:
        """Show a slice, across the axis if that is not in view."""
        if self.image.ndim == 2:
            return
        self.look_along(axis)
        middle = [n / 2 for n in self._shape]
        middle[axis] = slice_index
        dims = self.viewer.dims
        first = dims.ndim - 3
        dims.set_point(range(first, first + 3), self.image.data_to_world(middle))

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
        self.viewer.reset_view()

    def _turn_upright(self, axis: int) -> None:
        """Let the patient's head be up where rows run from foot to head.

        napari can turn the screen from 0.6 on; the display world stays.
        """
        volume, camera = self.image.metadata.get(VOLUME), camera_of(self.viewer)
        if volume is not None and hasattr(camera, "orientation2d"):
            rows = anatomical_axes(volume.affine)[axis_order(axis)[1]]
            camera.orientation2d = ("up" if rows == SUPERIOR else "down", "right")

    @property
    def _shape(self) -> tuple[int, ...]:
        image = self.image
        return (image.data[0] if image.multiscale else image.data).shape[:3]
