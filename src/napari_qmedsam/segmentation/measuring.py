"""Slices and millilitres of every object, kept up to date slice by slice.

A count of all labels of a large scan takes longer than a viewer may stand
still, so only the slices that changed are counted, some at a time.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.grid import voxel_volume_ml
from napari_qmedsam.volumes.volume import Volume


@dataclass(frozen=True)
class Measure:
    """How large an object is.

    Parameters
    ----------
    voxels : int
    slices : int
        Slices across the first array axis that hold a voxel of it.
    volume_ml : float, optional
        None where the image has no spacing.
    """

    voxels: int = 0
    slices: int = 0
    volume_ml: float | None = 0.0

    @property
    def text(self) -> str:
        """All of it, in a line."""
        counted = f"{self.voxels} voxels on {self.slices} slices"
        if self.volume_ml is None:
            return counted
        return f"{counted}: {self.volume_ml:.3f} ml"


class Tally:
    """Voxels of every label on every slice."""

    def __init__(self, volume: Volume) -> None:
        self._voxel_ml = voxel_volume_ml(volume) if volume.has_spacing else None
        self._all = range(volume.shape[0])
        self._counts: dict[int, dict[int, int]] = {}
        self._stale: set[int] = set(self._all)

    @property
    def is_current(self) -> bool:
        """Whether every slice has been counted since it changed."""
        return not self._stale

    def mark(self, slice_indices: Iterable[int] | None = None) -> None:
        """Say that slices have changed; all of them by default."""
        self._stale.update(self._all if slice_indices is None else slice_indices)

    def count(self, labels: NDArray[np.integer], seconds: float = np.inf) -> bool:
        """Count slices that changed, for about so long; return `is_current`.

        Parameters
        ----------
        labels : ndarray, (Z, Y, X) integer
        seconds : float
            One slice is counted at least.
        """
        end = time.monotonic() + seconds
        while self._stale:
            slice_index = self._stale.pop()
            self._counts[slice_index] = _counts(labels[slice_index])
            if time.monotonic() > end:
                break
        return self.is_current

    def measure(self, object_id: int) -> Measure:
        """Return an object's size as far as it has been counted."""
        counts = [n for c in self._counts.values() if (n := c.get(object_id))]
        voxels = sum(counts)
        ml = None if self._voxel_ml is None else voxels * self._voxel_ml
        return Measure(voxels, len(counts), ml)


def _counts(plane: NDArray[np.integer]) -> dict[int, int]:
    """Return voxels per label of a slice, 0 left out."""
    if not plane.any():
        return {}
    values, counts = np.unique(plane, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True) if v}
