"""Boxes as they are given: tight, jittered, drawn by people, from a neighbour's mask.

Boxes are corner pixels (x_min, y_min, x_max, y_max) of the model input, the
maxima inside the object, as the official models take them.
"""

from enum import Enum

import numpy as np
from numpy.typing import NDArray

Box = NDArray[np.floating]
"""(4,); what is given out is float32 and holds whole numbers."""


class BoxStyle(str, Enum):
    """How training draws boxes."""

    JITTERED = "jittered"
    """Half tight, half with each side moved by a few pixels; maxima often short."""

    CARELESS = "careless"
    """As people draw them and as propagation gives them."""


TIGHT, LOOSE, MISPLACED = 0.3, 0.25, 0.3
"""Shares of careless boxes; what is left are boxes of a neighbouring slice.

With more loose ones than misplaced ones masks learn to stay well inside their box,
and lose where a box cuts the object."""

LOOSE_REACH = 0.25
"""A loose box is larger by up to this part of its extent, on each side."""

MISPLACED_REACH = 6.0
"""A misplaced side lies up to so many pixels of a 256-pixel input off."""

NEIGHBOUR_SCALE, NEIGHBOUR_SHIFT, NEIGHBOUR_MARGIN = 0.3, 0.08, 3.0
"""The object on the next slice: relative size (log), shift, and margin in pixels."""

COARSE = 0.25
"""Share of boxes that were drawn on an image coarser than the model input."""

COARSEST = 2.5
"""Pixels of the model input per pixel of the coarsest such image."""


def tight_box(mask: NDArray[np.bool_]) -> Box:
    """Return the first and last pixel of a mask (S, S) that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)


def jittered(box: Box, jitter: int, size: int, rng: np.random.Generator) -> Box:
    """Move half of the boxes' sides by up to `jitter` pixels.

    Maxima are often a pixel or two short, as they are when the box of a coarser
    image is scaled to the model input.
    """
    box = box.copy()
    box[2:] -= rng.integers(0, 3) * (rng.random() < 0.6)
    if jitter and rng.random() < 0.5:
        reach = min(jitter, max(1, int(0.1 * (box[2:] - box[:2]).max())))
        box += rng.integers(-reach, reach + 1, 4)
    return inside(box, size)


def careless(box: Box, size: int, rng: np.random.Generator) -> Box:
    """Draw a box as people and propagation do, given the tight one.

    Every style treats the four sides alike, so masks learn no side to lean to.
    """
    extent = np.tile(box[2:] - box[:2] + 1, 2)  # x, y, x, y
    outward = np.array([-1, -1, 1, 1], np.float32)
    style = rng.random()
    if style < TIGHT:
        drawn = box.copy()
    elif style < TIGHT + LOOSE:
        drawn = box + outward * extent * rng.uniform(0, LOOSE_REACH, 4)
    elif style < TIGHT + LOOSE + MISPLACED:
        reach = np.minimum(MISPLACED_REACH * size / 256, 0.3 * extent)
        drawn = box + reach * rng.uniform(-1, 1, 4)
    else:
        grown = extent / 2 * (np.exp(rng.normal(0, NEIGHBOUR_SCALE / 2)) - 1)
        shift = np.tile(rng.normal(0, NEIGHBOUR_SHIFT, 2), 2) * extent
        drawn = box + outward * (grown + rng.uniform(0, NEIGHBOUR_MARGIN)) + shift
    if rng.random() < COARSE:
        drawn = coarse(drawn, float(rng.uniform(1, COARSEST)))
    return inside(np.floor(drawn), size)


def coarse(box: Box, pixels: float) -> Box:
    """Return the box as drawn on an image whose pixels are so many pixels wide.

    Both corners are whole pixels there, and scaled as the official code does,
    which leaves the maxima short.
    """
    return np.floor(np.floor(box / pixels) * pixels).astype(np.float32)


def inside(box: Box, size: int) -> Box:
    """Clip to the input; a box is at least a pixel apart in both directions."""
    box = np.clip(box, 0, size - 1).astype(np.float32)
    box[2:] = np.maximum(box[2:], box[:2] + 1)
    return box


def clicks(
    mask: NDArray[np.bool_], box: Box, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Click in an object, or beside it in its box.

    Parameters
    ----------
    mask : ndarray, (S, S) bool
    box : ndarray, (4,)
        As given with the points.
    count : int

    Returns
    -------
    points : ndarray, (count, 2) float32
        x, y in pixels of the model input.
    labels : ndarray, (count,) float32
        1 in the object, 0 beside it.
    """
    left, top, right, bottom = box.astype(int)
    rows, columns = np.nonzero(~mask[top : bottom + 1, left : right + 1])
    beside = np.column_stack([columns + left, rows + top])
    rows, columns = np.nonzero(mask)
    within = np.column_stack([columns, rows])
    labels = (rng.random(count) < 0.5).astype(np.float32)
    if len(beside) == 0:
        labels[:] = 1
    points = [
        rng.choice(within if label else beside).astype(np.float32) for label in labels
    ]
    return np.array(points, np.float32).reshape(count, 2), labels
