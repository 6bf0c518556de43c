"""What ways from one key box to the next found on the slices between."""

import numpy as np
from numpy.typing import NDArray

OWN_SHARE = 0.75
"""Weight of the interpolated box and shape beside the way from each of both keys."""

LEAST_WEIGHT = 1e-6
"""Added to every weight, so that ways of no weight at all count alike."""

STEPS = 20
"""Of a voice from 0 to 1: votes are kept in whole steps, a byte a pixel."""


class Votes:
    """Scores of the pixels of an object, from the ways that reached a slice.

    Each way goes from a key box to the next and follows the image, so that a bent path
    is followed; errors add up on the way. Where both agree they outvote the
    interpolated box, where one slipped that decides, and the clearer of the two has
    more to say; where neither came it is alone.
    """

    def __init__(self) -> None:
        self._of_slice: dict[int, list[tuple[float, NDArray[np.int8]]]] = {}

    def add(
        self, slice_index: int, score: NDArray[np.floating], weight: float = 1.0
    ) -> None:
        """Count the (Y, X) scores of one more way, each from -3 to 3.

        Parameters
        ----------
        slice_index : int
        score : ndarray, (Y, X) float
        weight : float
            Beside those of the other ways; 0 or more.
        """
        steps = np.rint(score * STEPS).astype(np.int8)
        self._of_slice.setdefault(slice_index, []).append((weight, steps))

    def on(self, slice_index: int) -> NDArray[np.float32] | None:
        """Return the (Y, X) scores of all ways on a slice; None where no way came.

        They are summed, and weighed by the weight of each against their mean.
        """
        ways = self._of_slice.get(slice_index)
        if ways is None:
            return None
        weights = np.array([weight for weight, _ in ways]) + LEAST_WEIGHT
        weights *= len(ways) / weights.sum() / STEPS
        scores = np.stack([steps for _, steps in ways])
        return np.asarray(np.tensordot(weights, scores, axes=1), np.float32)
