"""Outlines as different annotators draw them: a little inside or outside the edge.

Labels of clinical data follow no one rule. Those of organs often lie inside the
visible edge, those of lesions outside. A tight box tells which it is.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum

from napari_qmedsam.phantoms.fields import Mask

OUTWARD, INWARD = 1.5, 2.0
"""Largest shift of an outline, in pixels of a 256-pixel frame.

Labels move by whole pixels, so shifts below one leave them as they are."""

THINNEST = 0.35
"""An object loses at most this part of its depth on each side."""


def redrawn(rng: np.random.Generator, labels: Mask) -> Mask:
    """Shift the outlines of all objects of a slice by one distance.

    Parameters
    ----------
    rng : numpy.random.Generator
    labels : ndarray, (Y, X) unsigned

    Returns
    -------
    ndarray, (Y, X)
        Of the same type. Objects grow only where nothing else is labelled.
    """
    unit = max(labels.shape) / 256
    shift = unit * rng.uniform(-INWARD, OUTWARD)
    return _grown(labels, shift) if shift > 0 else _shrunk(labels, -shift)


def _grown(labels: Mask, by: float) -> Mask:
    distance, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8),
        cv2.DIST_L2,
        5,
        labelType=cv2.DIST_LABEL_PIXEL,
    )
    value = np.zeros(int(nearest.max()) + 1, labels.dtype)
    value[nearest[labels > 0]] = labels[labels > 0]
    return np.where((labels == 0) & (distance <= by), value[nearest], labels)


def _shrunk(labels: Mask, by: float) -> Mask:
    inside = ~_outline(labels)
    depth = 1 + cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    numbers = np.arange(int(labels.max()) + 1)
    deepest = np.asarray(maximum(depth, labels, numbers))
    lost = np.minimum(by, THINNEST * deepest)[labels]
    return np.where(depth > lost, labels, 0).astype(labels.dtype)


def _outline(labels: Mask) -> NDArray[np.bool_]:
    """Tell which pixels have a neighbour of another value, above or beside."""
    outline = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        other = np.diff(labels.astype(np.int32), axis=axis) != 0
        first: list[slice] = [slice(None)] * 2
        last = first.copy()
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        outline[tuple(first)] |= other
        outline[tuple(last)] |= other
    return outline
