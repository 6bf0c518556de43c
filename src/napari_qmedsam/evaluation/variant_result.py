"""What one variant made of the boxes, and how far a comparison is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.evaluation.variants import Variant
from napari_qmedsam.segmentation.history import Slice


@dataclass(frozen=True, eq=False)
class VariantResult:
    """What one variant made of the boxes.

    Parameters
    ----------
    variant : Variant
        With its measured time.
    labels : ndarray, (Z, Y, X) uint16
        Values are object ids.
    scores : dict of int to Scores
        Of every object, by its id.
    slice_dsc : dict of Slice to float
        Mean DSC over the objects on each slice, 0 to 1; slices on which
        neither masks nor reference have a voxel are left out.
    """

    variant: Variant
    labels: NDArray[np.uint16] = field(repr=False)
    scores: Mapping[int, Scores]
    slice_dsc: Mapping[Slice, float]

    @property
    def mean(self) -> Scores:
        """Means over objects."""
        return Scores.mean(self.scores.values())

    @property
    def worst_slice(self) -> Slice | None:
        """Slice with the lowest DSC, the first of several; None without any."""
        if not self.slice_dsc:
            return None
        return min(self.slice_dsc, key=lambda z: (self.slice_dsc[z], z))

    def scores_of(self, object_id: int | None) -> Scores:
        """Return the scores of an object, or their means for None."""
        return self.mean if object_id is None else self.scores[object_id]


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
    axis : int
        That it is counted along.
    """

    variant: str
    done: int
    total: int
    slice_index: int | None = None
    axis: int = 0
