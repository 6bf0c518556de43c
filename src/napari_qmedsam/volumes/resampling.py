"""Bringing one volume onto the grid of another, through SimpleITK."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.grid import geometry_from_affine, same_grid
from napari_qmedsam.volumes.itk import image_from_array
from napari_qmedsam.volumes.volume import Volume

__all__ = ["grids_overlap", "resample_like", "same_grid"]


def resample_like(volume: Volume, like: Volume, *, nearest: bool = True) -> Volume:
    """Return `volume` with the voxels, spacing and affine of `like`.

    Every voxel of `like` takes the value at its own place in the patient.
    Voxels outside `volume` get 0 with `nearest` (background, for labels), and
    the smallest value of `volume` otherwise (air, for images).

    Parameters
    ----------
    volume, like : Volume
        Grids of any direction and spacing.
    nearest : bool
        Nearest neighbour, which keeps labels whole; otherwise linear. Integer
        images are rounded.

    Returns
    -------
    Volume
        The type of `volume`; its source is that of `volume`.
    """
    import SimpleITK as sitk

    outside = 0.0 if nearest or volume.is_colour else float(volume.array.min())
    resampler = sitk.ResampleImageFilter()
    spacing, origin, direction = geometry_from_affine(like.affine)
    resampler.SetSize(like.shape[::-1])
    resampler.SetOutputSpacing(spacing)
    resampler.SetOutputOrigin(origin)
    resampler.SetOutputDirection(direction)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    resampler.SetDefaultPixelValue(outside)
    moved = resampler.Execute(image_from_array(volume.array, volume.affine))
    array = sitk.GetArrayFromImage(moved)
    return replace(
        volume,
        array=array.astype(volume.array.dtype, copy=False),
        spacing_mm=like.spacing_mm,
        affine=like.affine,
    )


def grids_overlap(
    a: Volume, b: Volume, part: tuple[slice, slice, slice] | None = None
) -> bool:
    """Tell whether two grids share a place in the patient.

    Parameters
    ----------
    a, b : Volume
    part : three slices or None
        Only this part of `a` (z, y, x) counts.

    Notes
    -----
    The box of each grid is looked at in the other's voxel indices. Two boxes
    turned against each other may count as overlapping when only their corners
    come near.
    """
    part = part or (slice(0, a.shape[0]), slice(0, a.shape[1]), slice(0, a.shape[2]))
    low_a = np.array([s.start for s in part[::-1]]) - 0.5
    high_a = np.array([s.stop for s in part[::-1]]) - 0.5
    low_b = np.full(3, -0.5)
    high_b = np.array(b.shape[::-1]) - 0.5
    to_b = np.linalg.solve(b.affine, a.affine)
    to_a = np.linalg.solve(a.affine, b.affine)
    return _boxes_meet(low_a, high_a, to_b, low_b, high_b) and _boxes_meet(
        low_b, high_b, to_a, low_a, high_a
    )


def _boxes_meet(
    low: NDArray[np.floating],
    high: NDArray[np.floating],
    move: NDArray[np.floating],
    other_low: NDArray[np.floating],
    other_high: NDArray[np.floating],
) -> bool:
    """Tell whether the moved box reaches into the other, axis by axis."""
    centre = move[:3, :3] @ ((low + high) / 2) + move[:3, 3]
    reach = np.abs(move[:3, :3]) @ ((high - low) / 2)
    meets = (centre + reach > other_low) & (centre - reach < other_high)
    return bool(meets.all())
