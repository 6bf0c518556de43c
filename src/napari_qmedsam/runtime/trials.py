"""Does something faster give the same masks? Tried on three slices of phantoms."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.datasets.calibration import CalibrationSample
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.overlap import dice
from napari_qmedsam.runtime.protocol import Backend

SLICES = CalibrationPlan(slices=3)
"""The same for everyone, so that what is found depends on machine and model alone."""

LEAST_DSC = 0.995
"""Mean DSC with the reference's masks that every slice must reach."""

ROUNDS = 2
"""Times each slice is encoded; the fastest encoding counts."""


@dataclass(frozen=True)
class TrialRun:
    """What a model gave on the slices.

    Parameters
    ----------
    masks : tuple of ndarray, (n, L, L) bool
        Of the boxes of each slice.
    milliseconds : float
        The fastest encoding.
    """

    masks: tuple[NDArray[np.bool_], ...]
    milliseconds: float

    def agreement(self, reference: "TrialRun") -> float:
        """Mean DSC over the boxes of a slice, for the slice where it is lowest.

        Two empty masks agree.
        """
        lowest = 1.0
        for ours, theirs in zip(self.masks, reference.masks, strict=True):
            pairs = zip(ours, theirs, strict=True)
            scores = [dice(a, b) if a.any() or b.any() else 1.0 for a, b in pairs]
            lowest = min(lowest, float(np.mean(scores)))
        return lowest


def slices_for(config: ModelConfig) -> tuple[CalibrationSample, ...]:
    """Return the slices, as input of a model."""
    return SLICES.samples(config).samples


def try_out(backend: Backend, slices: Sequence[CalibrationSample]) -> TrialRun:
    """Run a model on the slices.

    Raises
    ------
    Cancelled
        If the work is not wanted any more.
    """
    backend.encode(slices[0].image)  # the first one is slow
    masks, seconds = [], []
    for sample in slices:
        for _ in range(ROUNDS):
            check_cancelled()
            start = time.perf_counter()
            embedding = backend.encode(sample.image)
            seconds.append(time.perf_counter() - start)
        masks.append(backend.decode(embedding, sample.boxes) > 0)
    return TrialRun(tuple(masks), 1000 * min(seconds))
