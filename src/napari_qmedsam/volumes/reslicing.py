"""A volume seen along another of its axes: coronal or sagittal for an axial scan.

Nothing is copied or resampled. Index ``[i, r, c]`` of the volume seen along an
axis is the voxel whose index along that axis is i, and along the other two, in
their old order, r and c.
"""

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.volumes.grid import anatomical_axes
from napari_qmedsam.volumes.volume import Volume

VIEW_NAMES = ("sagittal", "coronal", "axial")
"""Names of the slices across left-right, anterior-posterior, inferior-superior."""


def axis_order(axis: int) -> tuple[int, int, int]:
    """Return the array axes in the order they have when seen along one of them.

    Raises
    ------
    InvalidSettings
        If `axis` is not 0, 1 or 2.
    """
    if axis not in (0, 1, 2):
        raise InvalidSettings(f"A volume has the axes 0, 1 and 2, not {axis}.")
    rows, columns = (other for other in range(3) if other != axis)
    return axis, rows, columns


def seen_along(volume: Volume, axis: int) -> Volume:
    """Return the volume with its slices across `axis`; 0 returns it unchanged.

    Pixels of slices across another axis are as high as the slices are apart.
    `Volume.pixel_aspect` tells, so that a model is shown them in proportion.
    """
    if axis == 0:
        return volume
    order = axis_order(axis)
    spacing = tuple(volume.spacing_mm[i] for i in order)
    # Columns of the affine are x, y, z: the array axes backwards.
    columns = [2 - i for i in order[::-1]]
    affine = volume.affine[:, [*columns, 3]]
    return Volume(
        stacked_along(volume.array, axis),
        (spacing[0], spacing[1], spacing[2]),
        affine,
        volume.modality,
        volume.source,
        pixel_aspect=spacing[1] / spacing[2],
        has_spacing=volume.has_spacing,
    )


def stacked_along(array: NDArray, axis: int) -> NDArray:
    """Return a view of a (Z, Y, X, ...) array with `axis` first."""
    return np.moveaxis(array, axis, 0)


def view_name(volume: Volume, axis: int) -> str:
    """Return what radiologists call the slices across an axis: axial, say."""
    return VIEW_NAMES[anatomical_axes(volume.affine)[axis]]
