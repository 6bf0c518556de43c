"""Slices from files, varied: flipped, turned, zoomed, with other greys."""

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.datasets.modality import LabelledSlice

TURN = 15.0
"""Degrees by which a slice is turned, standard deviation."""

ZOOM = (0.75, 2.0)
"""Range of magnification; above 1 a part of the slice is cut out."""

SHEAR = 0.08
"""Relative stretching of one axis, standard deviation."""

CONTRAST = 0.3
"""Standard deviation of the logarithm of the exponent that bends the greys."""

BLUR, NOISE = 1.0, 0.04
"""Largest blur in pixels, and noise as a part of the range of greys."""

WINDOW = 0.15
"""Part of the range of greys that may be cut off below, and above."""


def flipped(item: LabelledSlice, rng: np.random.Generator) -> LabelledSlice:
    """Flip a slice at random, left to right and top to bottom."""
    image, labels = item.image, item.labels
    for axis in (0, 1):
        if rng.random() < 0.5:
            image, labels = np.flip(image, axis), np.flip(labels, axis)
    return LabelledSlice(np.ascontiguousarray(image), np.ascontiguousarray(labels))


def augmented(item: LabelledSlice, rng: np.random.Generator) -> LabelledSlice:
    """Flip, turn, zoom and repaint a slice, for data that come round often."""
    item = warped(flipped(item, rng), rng)
    return LabelledSlice(regreyed(item.image, rng), item.labels)


def warped(item: LabelledSlice, rng: np.random.Generator) -> LabelledSlice:
    """Turn, stretch and zoom a slice around a place on it; its size stays."""
    height, width = item.labels.shape
    zoom = np.exp(rng.uniform(*np.log(ZOOM)))
    stretch = np.exp(rng.normal(0, SHEAR, 2))
    turn = np.deg2rad(rng.normal(0, TURN))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = rotation * zoom * stretch
    middle = np.array([width, height]) / 2
    # Magnified around any place, so that all parts come up; reduced around the middle.
    reach = 0.5 * max(0.0, 1 - 1 / zoom)
    centre = middle + rng.uniform(-reach, reach, 2) * (width, height)
    affine = np.column_stack([matrix, middle - matrix @ centre])
    size = (width, height)
    image = cv2.warpAffine(item.image, affine, size, flags=cv2.INTER_LINEAR)
    # OpenCV warps no 32-bit integers.
    labels = cv2.warpAffine(
        item.labels.astype(np.float32), affine, size, flags=cv2.INTER_NEAREST
    )
    return LabelledSlice(image.astype(np.uint8), labels.astype(item.labels.dtype))


def regreyed(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Give a slice another window, contrast, sharpness and noise, by half each."""
    greys: NDArray[np.floating] = image.astype(np.float32) / 255
    if rng.random() < 0.5:
        low, high = rng.uniform(0, WINDOW, 2)
        greys = np.clip((greys - low) / (1 - high - low), 0, 1)
    if rng.random() < 0.5:
        greys = greys ** np.exp(rng.normal(0, CONTRAST))
    if rng.random() < 0.5:
        greys = np.asarray(cv2.GaussianBlur(greys, (0, 0), rng.uniform(0.3, BLUR)))
    if rng.random() < 0.5:
        noise = rng.normal(0, rng.uniform(0, NOISE), greys.shape)
        greys = greys + (noise * (greys > 0)).astype(np.float32)
    return np.round(np.clip(greys, 0, 1) * 255).astype(np.uint8)
