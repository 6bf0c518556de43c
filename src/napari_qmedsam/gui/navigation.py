"""Which slice of an image is in view, and going to another one."""

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_qmedsam.segmentation.history import Slice

if TYPE_CHECKING:
    import napari


def slice_in_view(viewer: "napari.viewer.Viewer", image: Image) -> Slice:
    """Return axis and index of the slice that is shown; the first axis in 3D."""
    if image.ndim == 2:
        return 0, 0
    first = viewer.dims.ndim - 3
    hidden = [axis for axis in range(3) if axis + first in viewer.dims.not_displayed]
    axis = hidden[0] if hidden else 0
    position = np.asarray(image.world_to_data(viewer.dims.point))[-3:]
    return axis, int(np.clip(np.rint(position[axis]), 0, image.data.shape[axis] - 1))


def show_slice(viewer: "napari.viewer.Viewer", image: Image, place: Slice) -> None:
    """Go to a slice; one across another axis turns the view."""
    if image.ndim == 2:
        return
    axis, index = place
    first = viewer.dims.ndim - 3
    viewer.dims.ndisplay = 2
    if axis + first not in viewer.dims.not_displayed:
        others = [i + first for i in range(3) if i != axis]
        viewer.dims.order = (*range(first), axis + first, *others)
    middle = [n / 2 for n in image.data.shape[:3]]
    middle[axis] = index
    world = image.data_to_world(middle)
    viewer.dims.set_point(range(first, first + 3), world)
