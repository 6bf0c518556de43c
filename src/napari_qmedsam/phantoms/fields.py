"""Smooth random fields: coarse noise enlarged with cubic interpolation.

Enlarging a small grid with OpenCV costs a tenth of a millisecond; filtering
white noise to the same smoothness costs a hundred times more.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[Any]
"""Floats, (Y, X) float32; OpenCV's own types are too wide to say so."""

Mask = NDArray[Any]
"""Zeros and ones, (Y, X) uint8; or tissue or object numbers."""


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, int], cells: float
) -> Field:
    """Return a smooth field with about `cells` bumps along the longest side.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (height, width) of the result.
    cells : float
        Independent values along the longest side; clipped to 2 and the side.

    Returns
    -------
    ndarray, (height, width) float32
        Mean about 0, standard deviation about 0.6 to 1.
    """
    height, width = shape
    per_pixel = min(max(cells, 2.0), max(shape)) / max(shape)
    coarse = rng.standard_normal(
        (max(2, round(height * per_pixel)) + 1, max(2, round(width * per_pixel)) + 1),
        dtype=np.float32,
    )
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def texture_field(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, ...]
) -> Field:
    """Return a sum of smooth fields of several scales, standard deviation 1."""
    total = np.zeros(shape, np.float32)
    for count in cells:
        total += np.float32(rng.uniform(0.3, 1.0)) * smooth_field(rng, shape, count)
    total -= total.mean()
    return total / max(float(total.std()), 1e-6)


def identity_map(shape: tuple[int, int]) -> tuple[Field, Field]:
    """Return the x and y maps with which `cv2.remap` changes nothing."""
    x, y = np.meshgrid(
        np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32)
    )
    return x, y


def warp_map(
    rng: np.random.Generator,
    shape: tuple[int, int],
    steps: tuple[tuple[float, float], ...],
) -> tuple[Field, Field]:
    """Return maps for `cv2.remap` that displace by smooth noise.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (height, width).
    steps : tuple of (cells, pixels)
        Each adds a field of that many cells and about that displacement.
    """
    x, y = identity_map(shape)
    for cells, pixels in steps:
        x += np.float32(pixels) * smooth_field(rng, shape, cells)
        y += np.float32(pixels) * smooth_field(rng, shape, cells)
    return x, y


def remap_labels(labels: Mask, maps: tuple[Field, Field]) -> Mask:
    """Sample a label map without mixing values; the border is mirrored."""
    return cv2.remap(
        labels, maps[0], maps[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT
    )
