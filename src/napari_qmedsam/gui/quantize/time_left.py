"""How long quantizing still takes, by what its steps took so far."""

import time
from collections.abc import Callable
from math import ceil

from napari_qmedsam.quantization.whole_model import QuantizationProgress

CALIBRATION = "calibration"
"""What the steps of a calibration are called."""


class TimeLeft:
    """Tells the time left of work whose steps are of two unlike kinds.

    Slices of the calibration and layers are counted in one total, but one may
    take a hundred times as long as the other; so each kind is timed by itself.

    Parameters
    ----------
    clock : callable
        Returns seconds; exchanged by tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._start(0)

    def _start(self, total: int) -> None:
        self._total, self._done, self._layers = total, 0, 0
        self._seconds = {True: 0.0, False: 0.0}
        self._counts = {True: 0, False: 0}

    def seconds(self, step: QuantizationProgress) -> float | None:
        """Return the seconds left after a step; None while nobody can know.

        Each step is to be told once, in order. A step of another total begins
        another part of the work.
        """
        if step.total != self._total or step.done <= self._done:
            self._start(step.total)
        now, is_layer = self._clock(), step.report is not None
        self._seconds[is_layer] += now - self._last
        self._counts[is_layer] += step.done - self._done
        self._last, self._done = now, step.done
        self._layers = step.layers or self._layers
        left = {True: 0, False: step.total - step.done}
        if self._layers:
            left[True] = self._layers - self._counts[True]
            left[False] -= left[True]
        elif step.layer == CALIBRATION:
            return None  # what follows is not known yet
        known = 0.0
        for kind, count in left.items():
            if count and not self._counts[kind]:
                return None
            if count:
                known += count * self._seconds[kind] / self._counts[kind]
        return known


def spoken(seconds: float | None) -> str:
    """Return a time left as words, empty where there is none."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"about {max(1, ceil(seconds))} s left"
    return f"about {ceil(seconds / 60)} min left"
