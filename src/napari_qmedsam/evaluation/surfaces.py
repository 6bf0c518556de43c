"""The surfaces of two masks: the size of their elements, and how far they lie apart.

Of DeepMind's surface-distance package only the tables are used here: which piece of
surface, of what size, belongs to each neighbourhood of 2 x 2 x 2 voxels (2 x 2 pixels
in 2D). Its released functions call names that NumPy 2 removed, and sort surface
elements in Python; what is below gives the same numbers faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt
from surface_distance import lookup_tables

from napari_qmedsam.errors import GridMismatch, InvalidSettings
from napari_qmedsam.overlap import as_masks


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """The surface elements of two masks: how large, how far from the other surface.

    Distances to a surface that is not there are infinite.

    Parameters
    ----------
    areas, distances_mm : ndarray, (n,) float64
        Of the prediction's surface; lengths instead of areas in 2D.
    reference_areas, reference_distances_mm : ndarray, (m,) float64
        Of the reference's surface.
    """

    areas: NDArray[np.float64]
    distances_mm: NDArray[np.float64]
    reference_areas: NDArray[np.float64]
    reference_distances_mm: NDArray[np.float64]

    @classmethod
    def between(
        cls, prediction: ArrayLike, reference: ArrayLike, spacing_mm: Sequence[float]
    ) -> "SurfaceDistances":
        """Measure two masks; see :func:`normalized_surface_distance`."""
        inside, truth = as_masks(prediction, reference)
        if inside.ndim not in (2, 3):
            raise GridMismatch(
                "Surfaces are measured on 2D or 3D masks, but these are "
                f"{inside.shape}."
            )
        spacing = checked_spacing(spacing_mm, inside.ndim)
        if not inside.any() and not truth.any():
            return cls(*(np.empty(0) for _ in range(4)))
        box = joint_box(inside | truth)
        areas = _element_areas(inside[box], spacing)
        areas_truth = _element_areas(truth[box], spacing)
        surface, surface_truth = areas >= 0, areas_truth >= 0
        return cls(
            areas[surface],
            _distances_to(surface_truth, spacing)[surface],
            areas_truth[surface_truth],
            _distances_to(surface, spacing)[surface_truth],
        )

    def share_within(self, tolerance_mm: float) -> float:
        """Return the NSD; see :func:`normalized_surface_distance`."""
        if not (np.isfinite(tolerance_mm) and tolerance_mm >= 0):
            raise InvalidSettings(
                f"The tolerance must be 0 mm or more, but it is {tolerance_mm}."
            )
        total = self.areas.sum() + self.reference_areas.sum()
        if total == 0:
            return float("nan")
        agreed = self.areas[self.distances_mm <= tolerance_mm].sum()
        near = self.reference_distances_mm <= tolerance_mm
        return float((agreed + self.reference_areas[near].sum()) / total)

    def hausdorff(self, percent: float) -> float:
        """Return a percentile of the distances; see :func:`hausdorff_distance`."""
        if not 0 < percent <= 100:
            raise InvalidSettings(
                f"The percentile must lie above 0 and up to 100, but it is {percent}."
            )
        if self.areas.size == 0 and self.reference_areas.size == 0:
            return float("nan")
        if self.areas.size == 0 or self.reference_areas.size == 0:
            return float("inf")
        return max(
            _weighted_percentile(self.distances_mm, self.areas, percent),
            _weighted_percentile(
                self.reference_distances_mm, self.reference_areas, percent
            ),
        )


def checked_spacing(spacing_mm: Sequence[float], axes: int) -> tuple[float, ...]:
    """Return one spacing per axis as floats, or refuse them."""
    spacing = tuple(float(s) for s in spacing_mm)
    if len(spacing) != axes:
        raise InvalidSettings(
            f"A mask with {axes} axes needs {axes} spacings, but got {spacing}."
        )
    if not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InvalidSettings(
            f"Spacing must be above 0 mm on every axis, but it is {spacing}."
        )
    return spacing


def joint_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Smallest box around `mask`.

    Both surfaces lie in it, so distances between them do not change, and most
    of a volume is usually outside.
    """
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def _element_areas(
    mask: NDArray[np.bool_], spacing: tuple[float, ...]
) -> NDArray[np.float64]:
    """Area of the surface element at each voxel corner; -1 off the surface.

    The result has one more entry than `mask` on every axis: corners, not
    voxels. An area of 0 on the surface is possible in principle, so it cannot
    stand for "no surface".
    """
    weights = (
        lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
        if mask.ndim == 3
        else lookup_tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL
    )
    padded = np.pad(mask, 1)
    codes = np.zeros([n + 1 for n in mask.shape], dtype=np.uint8)
    for corner in np.ndindex(*weights.shape):
        shifted = padded[
            tuple(slice(c, c + n) for c, n in zip(corner, codes.shape, strict=True))
        ]
        codes += shifted * np.uint8(weights[corner])
    return _area_table(spacing)[codes]


@lru_cache(maxsize=64)
def _area_table(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Area (2D: length) for each neighbourhood code; -1 for all-out and all-in."""
    if len(spacing) == 3:
        table = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    else:
        table = lookup_tables.create_table_neighbour_code_to_contour_length(spacing)
    table = np.array(table, dtype=np.float64)
    table[[0, -1]] = -1.0
    table.setflags(write=False)
    return table


def _distances_to(
    surface: NDArray[np.bool_], spacing: tuple[float, ...]
) -> NDArray[np.float64]:
    """Distance in mm of every corner to the nearest one on `surface`."""
    if not surface.any():
        return np.full(surface.shape, np.inf)
    return distance_transform_edt(~surface, sampling=spacing)


def _weighted_percentile(
    values: NDArray[np.float64], weights: NDArray[np.float64], percent: float
) -> float:
    """Smallest value that, with those below it, holds this share of all weight."""
    order = values.argsort()
    share = np.cumsum(weights[order]) / weights.sum()
    place = min(int(np.searchsorted(share, percent / 100)), values.size - 1)
    return float(values[order[place]])
