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


def axis_in_view(viewer: "napari.viewer.Viewer", image: Image) -> int:
    """Return the array axis that the slices in view lie across; 0 in a 3D view."""
    if image.ndim == 2 or viewer.dims.ndisplay == 3:
        return 0
    first = viewer.dims.ndim - 3
    hidden = [axis - first for axis in viewer.dims.not_displayed if axis >= first]
    return hidden[-1] if hidden else 0


def slice_in_view(viewer: "napari.viewer.Viewer", image: Image) -> Slice:
    """Return axis and index of the slice that is shown."""
    if image.ndim == 2:
        return 0, 0
    axis = axis_in_view(viewer, image)
    position = image.world_to_data(viewer.dims.point)[axis]
    return axis, int(np.clip(np.rint(position), 0, _shape(image)[axis] - 1))


def show_slice(viewer: "napari.viewer.Viewer", image: Image, place: Slice) -> None:
    """Go to a slice; one across another axis turns the view."""
    if image.ndim == 2:
        return
    axis, index = place
    look_along(viewer, image, axis)
    middle = [n / 2 for n in _shape(image)]
    middle[axis] = index
    first = viewer.dims.ndim - 3
    viewer.dims.set_point(range(first, first + 3), image.data_to_world(middle))


def look_along(viewer: "napari.viewer.Viewer", image: Image, axis: int) -> None:
    """Show slices across an axis; what else is displayed stays."""
    dims = viewer.dims
    is_seen = dims.ndisplay == 2 and axis_in_view(viewer, image) == axis
    if image.ndim == 2 or is_seen:
        return
    dims.ndisplay = 2
    first = dims.ndim - 3
    dims.order = (*range(first), *(first + i for i in axis_order(axis)))
    _turn_upright(viewer, image, axis)
    viewer.reset_view()


def _turn_upright(viewer: "napari.viewer.Viewer", image: Image, axis: int) -> None:
    """Let the patient's head be up where rows run from foot to head.

    napari can turn the screen from 0.6 on; the display world stays.
    """
    volume, camera = image.metadata.get(VOLUME), camera_of(viewer)
    if volume is not None and hasattr(camera, "orientation2d"):
        rows = anatomical_axes(volume.affine)[axis_order(axis)[1]]
        camera.orientation2d = ("up" if rows == SUPERIOR else "down", "right")


def _shape(image: Image) -> tuple[int, int, int]:
    return (image.data[0] if image.multiscale else image.data).shape[:3]
