"""Where each label of an array lies."""

import numpy as np
from numpy.typing import NDArray

LIMIT = 1 << 16
"""SciPy lists all numbers up to the highest; above this they are numbered anew."""

Bounds = tuple[slice, ...]
"""One slice for each axis."""


def label_bounds(labels: NDArray[np.integer]) -> dict[int, Bounds]:
    """Return the tight box of every label but 0, by number.

    Parameters
    ----------
    labels : ndarray, any shape, integers from 0
    """
    from scipy.ndimage import find_objects

    highest = int(labels.max(initial=0))
    if highest < LIMIT:
        values, numbered = np.arange(highest + 1), labels
    else:
        values, inverse = np.unique(np.append(labels, 0), return_inverse=True)
        numbered = inverse[:-1].reshape(labels.shape)
    # It takes signed integers only.
    found = find_objects(numbered.astype(np.int32, copy=False))
    return {
        int(value): box
        for value, box in zip(values[1:], found, strict=False)
        if box is not None
    }
