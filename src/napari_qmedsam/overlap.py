"""Overlap of two masks, for every room that asks how alike they are."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_qmedsam.errors import GridMismatch


def dice(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Dice similarity coefficient: twice the overlap over the sum of sizes.

    Parameters
    ----------
    prediction, reference : array_like, same shape, bool or int
        Inside wherever the value is not 0.

    Returns
    -------
    float
        0 to 1; 0 where exactly one mask is empty, NaN where both are.

    Raises
    ------
    GridMismatch
        If the shapes differ.
    """
    inside, truth = as_masks(prediction, reference)
    total = np.count_nonzero(inside) + np.count_nonzero(truth)
    if total == 0:
        return float("nan")
    return 2.0 * np.count_nonzero(inside & truth) / total


def as_masks(
    prediction: ArrayLike, reference: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both as bool arrays of one shape."""
    inside, truth = np.asarray(prediction) != 0, np.asarray(reference) != 0
    if inside.shape != truth.shape:
        raise GridMismatch(
            f"The prediction is {inside.shape} but the reference is {truth.shape}; "
            "resample one to the grid of the other first."
        )
    return inside, truth
