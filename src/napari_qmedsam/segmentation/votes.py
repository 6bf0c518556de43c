"""What ways from one key box to the next found on the slices between."""

import numpy as np
from numpy.typing import NDArray

OWN_SHARE = 0.75
"""Weight of the interpolated box and shape beside the way from each of both keys."""

STEPS = 20
"""Of a voice from 0 to 1: votes are kept in whole steps, a byte a pixel."""


class Votes:
    """Scores of the pixels of an object, summed over the ways that reached a slice.

    Each way goes from a key box to the next and follows the image, so that a bent path
    is followed; errors add up on the way. Where both agree they outvote the
    interpolated box, where one slipped that decides; where neither came it is alone.
    """

    def __init__(self) -> None:
        self._of_slice: dict[int, NDArray[np.int8]] = {}

    def add(self, slice_index: int, score: NDArray[np.floating]) -> None:
        """Count the (Y, X) scores of one more way, each from -3 to 3."""
        steps = np.rint(score * STEPS).astype(np.int16)
        before = self._of_slice.get(slice_index)
        if before is not None:
            steps += before
        self._of_slice[slice_index] = np.clip(steps, -127, 127).astype(np.int8)

    def on(self, slice_index: int) -> NDArray[np.float32] | None:
        """Return the (Y, X) sum of all scores on a slice; None where no way came."""
        found = self._of_slice.get(slice_index)
        return None if found is None else np.asarray(found / STEPS, np.float32)
