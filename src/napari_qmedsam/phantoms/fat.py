"""Fat as MR shows it: dark rims where it meets water, and streaks in muscles.

In opposed-phase images, fat and water in one voxel cancel. A dark line runs around
organs that lie in fat, half of it outside of them. Muscles are streaked with fat,
mostly from their edge inwards, and labels go around both.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from napari_qmedsam.phantoms.fields import Field, Mask, smooth_field

FAT_SHARE = 0.03, 0.7
"""Part of a slice that is bright where there is fat at all."""

RIM = 0.6, 1.6
"""Blur of the border between fat and water, in pixels of a 256-pixel frame."""

SMALLEST_MUSCLE = 300
"""Smallest object with streaks, in square pixels of a 256-pixel frame."""

STREAKED = 0.06, 0.4
"""Part of an object that is fat."""


def opposed_phase(rng: np.random.Generator, image: Mask) -> Mask:
    """Darken the borders of what is bright, as out-of-phase fat and water do.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : ndarray, (Y, X) uint8

    Returns
    -------
    ndarray, (Y, X) uint8
        The slice as it was where too little or too much of it is bright.
    """
    unit = max(image.shape) / 256
    level = rng.uniform(0.4, 0.7) * 255
    fat: Field = (cv2.GaussianBlur(image, (0, 0), 1.5 * unit) > level).astype(
        np.float32
    )
    low, high = FAT_SHARE
    if not low <= fat.mean() <= high:
        return image
    fraction = cv2.GaussianBlur(fat, (0, 0), unit * rng.uniform(*RIM))
    left = np.abs(2 * fraction - 1) ** rng.uniform(1, 2)  # |water - fat| of the sum
    depth = rng.uniform(0.4, 1)
    return np.rint(image * (1 - depth * (1 - left))).astype(np.uint8)


def streaked(rng: np.random.Generator, image: Mask, labels: Mask) -> Mask:
    """Paint streaks of what lies around them into some of the objects.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : ndarray, (Y, X) uint8
    labels : ndarray, (Y, X) unsigned
        They stay as they are.

    Returns
    -------
    ndarray, (Y, X) uint8
    """
    unit = max(labels.shape) / 256
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    muscles = np.flatnonzero(areas >= SMALLEST_MUSCLE * unit**2)
    painted: Field = image.astype(np.float32)
    extents = find_objects(labels)
    margin = round(8 * unit)
    for number in muscles[rng.random(muscles.size) < 0.5]:
        near = tuple(
            slice(max(side.start - margin, 0), side.stop + margin)
            for side in extents[number - 1]
        )
        _streak(rng, painted[near], labels[near] == number, unit)
    return np.rint(np.clip(painted, 0, 255)).astype(np.uint8)


def _streak(
    rng: np.random.Generator, image: Field, muscle: NDArray[np.bool_], unit: float
) -> None:
    """Blend streaks into one object, in place."""
    reach = 2 * round(5 * unit) + 1
    near = cv2.dilate(muscle.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    around = image[near & ~muscle]
    own = float(image[muscle].mean())
    bright = around[around > own + 15]
    if bright.size == 0:
        return
    depth = cv2.distanceTransform(muscle.astype(np.uint8), cv2.DIST_L2, 3)
    cells = max(muscle.shape) / unit / rng.uniform(4, 10)
    rank = smooth_field(rng, muscle.shape, cells)
    rank = rank - np.float32(rng.uniform(0, 2.5)) * depth / depth.max()
    share = rng.uniform(*STREAKED)
    fat = muscle & (rank > np.quantile(rank[muscle], 1 - share))
    alpha = cv2.GaussianBlur(
        fat.astype(np.float32), (0, 0), unit * rng.uniform(0.5, 1.2)
    )
    alpha *= np.float32(rng.uniform(0.5, 1))
    grey = float(np.quantile(bright, rng.uniform(0.3, 0.9)))
    image += np.where(muscle, alpha * (grey - image), 0)
