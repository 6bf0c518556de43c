"""Thin shells around objects: crescents, rings and arcs.

Lung around the dome of the liver, fluid around an organ, the wall of a vessel,
rib cartilage: such an object touches the four sides of its box while something
else fills the middle. The phantoms proper have few of them.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.phantoms.fields import Mask
from napari_qmedsam.phantoms.random_slices import SMALLEST_AREA

SMALLEST_CORE = 150
"""Smallest object that gets a shell, in square pixels of a 256-pixel frame."""

THICKNESS = 2.5, 18.0
"""Of a shell in its middle, in pixels of a 256-pixel frame."""

CONTRAST = 22.0
"""Grey levels between a shell and the object it lies around, at least."""


def paint_shell(
    rng: np.random.Generator, image: Mask, labels: Mask
) -> tuple[Mask, Mask]:
    """Paint a shell around one object of a slice, and label it.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : ndarray, (Y, X) uint8
    labels : ndarray, (Y, X) unsigned

    Returns
    -------
    image, labels : ndarray
        Copies; the slice as it was where no object is large enough, or no
        number is free.
    """
    unit = max(labels.shape) / 256
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    cores = np.flatnonzero(areas >= SMALLEST_CORE * unit**2)
    number = int(labels.max()) + 1
    if cores.size == 0 or number > np.iinfo(labels.dtype).max:
        return image, labels
    weights = np.sqrt(areas[cores])  # small ones are many
    core = labels == rng.choice(cores, p=weights / weights.sum())
    shell = _shell(rng, core, unit)
    if np.count_nonzero(shell) < SMALLEST_AREA * unit**2:
        return image, labels
    grey = _grey(rng, float(image[core].mean()))
    labels = np.where(shell, number, labels).astype(labels.dtype)
    return _painted(rng, image, shell, grey), labels


def _shell(
    rng: np.random.Generator, core: NDArray[np.bool_], unit: float
) -> NDArray[np.bool_]:
    """Pixels up to a thickness that changes with the angle around the core."""
    rows, columns = np.nonzero(core)
    centre = rows.mean(), columns.mean()
    inside = rng.random() < 0.2  # as a wall
    distance = cv2.distanceTransform(
        (core if inside else ~core).astype(np.uint8), cv2.DIST_L2, 5
    )
    y, x = np.mgrid[: core.shape[0], : core.shape[1]]
    angle = np.arctan2(y - centre[0], x - centre[1]) - rng.uniform(-math.pi, math.pi)
    angle = (angle + math.pi) % (2 * math.pi) - math.pi
    low, high = THICKNESS
    thickness = unit * math.exp(rng.uniform(math.log(low), math.log(high)))
    if rng.random() < 0.25:  # all around
        part = 1 + 0.4 * np.cos(angle) * rng.random()
    else:
        half = math.radians(rng.uniform(25, 165))
        away = np.clip(np.abs(angle) / half, 0, 1)
        # From crescents with sharp tips to arcs of one thickness.
        part = (1 - away ** rng.uniform(1.5, 10)) * (away < 1)
    waves = int(rng.integers(2, 6)), rng.uniform(0, 2 * math.pi)
    part = part * (1 + rng.uniform(0, 0.35) * np.sin(waves[0] * angle + waves[1]))
    if rng.random() < 0.25:  # in pieces
        for _ in range(int(rng.integers(1, 4))):
            middle, gap = rng.uniform(-1.5, 1.5), rng.uniform(0.05, 0.4)
            part = part * (np.abs(angle - middle) > gap)
    start = unit * rng.uniform(0, 8) if rng.random() < 0.25 else 0.0
    shell = (distance > start) & (distance <= start + thickness * part)
    return shell & (core if inside else ~core)


def _grey(rng: np.random.Generator, core: float) -> float:
    """Air for every third one; else any grey that is not the core's."""
    if rng.random() < 0.35 and core > CONTRAST + 12:
        return float(rng.uniform(0, 12))
    while True:
        grey = float(rng.uniform(0, 255))
        if abs(grey - core) >= CONTRAST:
            return grey


def _painted(
    rng: np.random.Generator, image: Mask, shell: NDArray[np.bool_], grey: float
) -> Mask:
    """Blend the shell in, with edges and noise as the slice has them."""
    alpha = cv2.GaussianBlur(
        shell.astype(np.float32), (0, 0), float(rng.uniform(0.4, 1.1))
    )
    smooth = cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32)
    noise = (image - smooth) * rng.uniform(0.3, 1.2)
    if rng.random() < 0.3:
        noise += 0.15 * (smooth - smooth[shell].mean())
    blended = image * (1 - alpha) + (grey + noise) * alpha
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)
