"""The longest diameter of an object on one slice, as RECIST measures lesions."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist


def longest_diameter(
    mask: NDArray[np.bool_], steps: NDArray[np.floating] | tuple[float, float]
) -> float:
    """Return the longest distance between two points of a mask.

    A pixel is the parallelogram it covers, so its corners count: one row of n pixels
    of 1 mm measures √(n² + 1) mm. Exact, as the two points farthest apart are
    corners of the convex hull.

    Parameters
    ----------
    mask : ndarray, (Y, X) bool
    steps : (2, n) or (2,)
        What one row and one column further on is, in mm: vectors, or lengths at
        right angles.

    Returns
    -------
    float
        In the unit of `steps`; 0 for an empty mask.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return 0.0
    vectors = np.asarray(steps, float)
    if vectors.ndim == 1:
        vectors = np.diag(vectors)
    filled = mask[rows]
    left = filled.argmax(axis=1)
    right = filled.shape[1] - filled[:, ::-1].argmax(axis=1)
    # Between the outermost corners of a row nothing can be farther away.
    corners = [
        (row + edge, column)
        for edge in (0, 1)
        for row, *ends in zip(rows, left, right, strict=True)
        for column in ends
    ]
    points = _in_plane(vectors, np.array(corners, float))
    return float(pdist(points[ConvexHull(points).vertices]).max())


def _in_plane(
    vectors: NDArray[np.floating], corners: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return corners (n, 2) of rows and columns as points of a plane in mm."""
    # QR turns the plane of the two vectors into (x, y), and keeps distances.
    _, upper = np.linalg.qr(vectors.T)
    return corners @ upper.T
