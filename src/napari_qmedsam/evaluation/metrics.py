"""Overlap, volume and surface scores of two masks.

They are as DeepMind's surface-distance package defines them; the surfaces themselves
are measured in :mod:`~napari_qmedsam.evaluation.surfaces`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from napari_qmedsam.evaluation.surfaces import (
    SurfaceDistances,
    checked_spacing,
    joint_box,
)
from napari_qmedsam.overlap import as_masks, dice

__all__ = [
    "dice",
    "hausdorff_distance",
    "normalized_surface_distance",
    "relative_volume_difference",
    "signed_surface_distance",
]


def normalized_surface_distance(
    prediction: ArrayLike,
    reference: ArrayLike,
    spacing_mm: Sequence[float],
    tolerance_mm: float,
) -> float:
    """Share of both surfaces that lies within a tolerance of the other one.

    Surfaces run through the corners of voxels and carry area, so the score
    does not depend on how finely a surface is cut into voxels. The edge of the
    array closes a surface that it cuts.

    A 3D mask is bounded by a surface, a 2D mask by a contour: two spacings,
    and lengths instead of areas. A 2D mask given a third axis of one voxel is
    a plate with a top and a bottom face, and scores differently.

    Parameters
    ----------
    prediction, reference : array_like, (Z, Y, X) or (Y, X), bool or int
        Inside wherever the value is not 0.
    spacing_mm : sequence of float
        One per axis, in the order of the axes.
    tolerance_mm : float
        Distances up to and including it count as agreement.

    Returns
    -------
    float
        0 to 1; 0 where exactly one mask is empty, NaN where both are.

    Raises
    ------
    GridMismatch
        If the shapes differ, or are neither 2D nor 3D.
    InvalidSettings
        If a spacing is not above 0, there is not one for each axis, or the
        tolerance is below 0.
    """
    distances = SurfaceDistances.between(prediction, reference, spacing_mm)
    return distances.share_within(tolerance_mm)


def hausdorff_distance(
    prediction: ArrayLike,
    reference: ArrayLike,
    spacing_mm: Sequence[float],
    percent: float = 95.0,
) -> float:
    """Percentile of the distances between two surfaces; 100 is the Hausdorff distance.

    Taken in both directions, each surface element counting with its area, and the
    larger of the two is returned: as `compute_robust_hausdorff` of surface-distance
    does. Distances of both directions in one pool would let a large surface that is
    met well hide a small one that is not.

    Parameters
    ----------
    prediction, reference, spacing_mm
        As for :func:`normalized_surface_distance`.
    percent : float
        Above 0, up to 100.

    Returns
    -------
    float
        In mm; infinite where exactly one mask is empty, NaN where both are.

    Raises
    ------
    GridMismatch, InvalidSettings
        As :func:`normalized_surface_distance`, or if `percent` is out of range.
    """
    distances = SurfaceDistances.between(prediction, reference, spacing_mm)
    return distances.hausdorff(percent)


def relative_volume_difference(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Size of a mask minus that of its reference, over that of the reference.

    Parameters
    ----------
    prediction, reference : array_like, same shape, bool or int
        Inside wherever the value is not 0.

    Returns
    -------
    float
        -1 to infinity; above 0 where the prediction is too large. Infinite where only
        the reference is empty, NaN where both are.

    Raises
    ------
    GridMismatch
        If the shapes differ.
    """
    inside, truth = as_masks(prediction, reference)
    size, size_truth = np.count_nonzero(inside), np.count_nonzero(truth)
    if size_truth == 0:
        return float("inf") if size else float("nan")
    return (size - size_truth) / size_truth


def signed_surface_distance(
    prediction: ArrayLike, reference: ArrayLike, spacing_mm: Sequence[float]
) -> NDArray[np.float32]:
    """How far each surface voxel of a mask lies from the reference's surface.

    Surface voxels are those of a mask with a neighbour outside of it, along an
    axis. Where the edge of the array cuts a mask there is no surface: it is
    where somebody stopped looking. Distances are between voxel centres.

    Parameters
    ----------
    prediction, reference : array_like, (Z, Y, X) or (Y, X), bool or int
        Inside wherever the value is not 0.
    spacing_mm : sequence of float
        One per axis, in the order of the axes.

    Returns
    -------
    ndarray, float32, of the masks' shape
        In mm on the surface voxels of the prediction: above 0 outside the
        reference, below 0 inside it, 0 on its surface. NaN elsewhere, and
        everywhere if a mask has no surface.

    Raises
    ------
    GridMismatch
        If the shapes differ.
    InvalidSettings
        If a spacing is not above 0, or there is not one for each axis.
    """
    inside, truth = as_masks(prediction, reference)
    spacing = checked_spacing(spacing_mm, inside.ndim)
    result = np.full(inside.shape, np.nan, np.float32)
    if not inside.any() or not truth.any():
        return result
    # One voxel more, or the cut itself would be the edge.
    box = tuple(
        slice(max(0, s.start - 1), s.stop + 1) for s in joint_box(inside | truth)
    )
    inside, truth = inside[box], truth[box]
    surface, surface_truth = _shell(inside), _shell(truth)
    if surface_truth.any():
        distance = distance_transform_edt(~surface_truth, sampling=spacing)
        signed = np.where(truth, -distance, distance)
        result[box][surface] = signed[surface]
    return result


def _shell(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of `mask` with a neighbour outside along an axis, edges apart."""
    return mask & ~binary_erosion(mask, border_value=1)
