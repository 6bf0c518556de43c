"""What one variant made of the boxes, and how far a comparison is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.segmentation.history import Slice
from napari_qmedsam.segmentation.variants import Variant


def mean_of_known(values: Sequence[float]) -> float:
    """Return the mean without NaN; NaN if there is nothing else."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


@dataclass(frozen=True)
class ObjectScore:
    """One object's scores, 0 to 1; NaN where both masks are empty."""

    object_id: int
    dsc: float
    nsd: float


@dataclass(frozen=True, eq=False)
class VariantResult:
    """What one variant made of the boxes.

    Parameters
    ----------
    variant : Variant
        With its measured time.
    labels : ndarray, (Z, Y, X) uint16
        Values are object ids.
    scores : tuple of ObjectScore
    slice_dsc : dict of Slice to float
        Mean DSC over the objects on each slice, 0 to 1; slices on which
        neither masks nor reference have a voxel are left out.
    """

    variant: Variant
    labels: NDArray[np.uint16] = field(repr=False)
    scores: tuple[ObjectScore, ...]
    slice_dsc: Mapping[Slice, float]

    @property
    def dsc(self) -> float:
        """Mean over objects."""
        return mean_of_known([score.dsc for score in self.scores])

    @property
    def nsd(self) -> float:
        """Mean over objects."""
        return mean_of_known([score.nsd for score in self.scores])

    @property
    def worst_slice(self) -> Slice | None:
        """Slice with the lowest DSC, the first of several; None without any."""
        if not self.slice_dsc:
            return None
        return min(self.slice_dsc, key=lambda z: (self.slice_dsc[z], z))

    def score_of(self, object_id: int | None) -> tuple[float, float]:
        """Return DSC and NSD of an object, or their means for None."""
        if object_id is None:
            return self.dsc, self.nsd
        (score,) = (s for s in self.scores if s.object_id == object_id)
        return score.dsc, score.nsd


@dataclass(frozen=True)
class ComparisonStep:
    """How far a comparison is.

    Parameters
    ----------
    variant : str
        Name of the one at work.
    done, total : int
        Slices over all variants; total is 0 before the first of them.
    slice_index : int or None
        The slice just segmented; None while a model loads or scores are made.
    """

    variant: str
    done: int
    total: int
    slice_index: int | None = None
