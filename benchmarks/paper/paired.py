"""What quantization costs each object, against the float model's masks of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_qmedsam.evaluation.prompted_slices import PromptedSlice
from napari_qmedsam.evaluation.scores import Scores

RESAMPLINGS = 2000

LOST = 0.05
"""An object whose mean DSC falls by more than this counts as lost."""


@dataclass(frozen=True)
class Difference:
    """Mean differences over objects on slices, in DSC and NSD points of 100.

    Parameters
    ----------
    dsc, nsd : float
    dsc_interval, nsd_interval : tuple of float
        95 %, by resampling objects: all slices of an object stay together.
    lost : float
        Share of the objects that lose more than 5 DSC.
    """

    dsc: float
    nsd: float
    dsc_interval: tuple[float, float]
    nsd_interval: tuple[float, float]
    lost: float

    @staticmethod
    def headings() -> list[str]:
        """Return the titles of :meth:`cells`."""
        return ["ΔDSC (95 %)", "ΔNSD (95 %)", "objects that lose > 5"]

    def cells(self) -> list[str]:
        """Return the difference as text."""
        return [
            *(
                f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
                for value, (low, high) in (
                    (self.dsc, self.dsc_interval),
                    (self.nsd, self.nsd_interval),
                )
            ),
            f"{100 * self.lost:.1f} %",
        ]


def difference(
    slices: Sequence[PromptedSlice],
    scores: Sequence[Sequence[Scores]],
    base: Sequence[Sequence[Scores]],
    seed: int = 0,
) -> Difference:
    """Compare two models on the same objects.

    Parameters
    ----------
    slices : sequence of PromptedSlice
    scores, base : sequence of sequence of Scores
        Of each object of each slice; `base` is taken off.
    seed : int
        Of the resampling.
    """
    sums: dict[tuple[int, int], np.ndarray] = {}
    for item, mine, other in zip(slices, scores, base, strict=True):
        for class_id, a, b in zip(item.class_ids, mine, other, strict=True):
            key = id(item.volume), class_id
            change = np.array([a.dsc - b.dsc, a.nsd - b.nsd, 1.0])
            sums[key] = sums.get(key, 0) + change
    table = np.array(list(sums.values()))  # (objects, 3)
    rng = np.random.default_rng(seed)
    drawn = table[rng.integers(len(table), size=(RESAMPLINGS, len(table)))].sum(axis=1)
    low, high = np.percentile(100 * drawn[:, :2] / drawn[:, 2:], (2.5, 97.5), axis=0)
    total = table.sum(axis=0)
    dsc, nsd = 100 * total[:2] / total[2]
    return Difference(
        dsc=float(dsc),
        nsd=float(nsd),
        dsc_interval=(float(low[0]), float(high[0])),
        nsd_interval=(float(low[1]), float(high[1])),
        lost=float((table[:, 0] / table[:, 2] < -LOST).mean()),
    )
