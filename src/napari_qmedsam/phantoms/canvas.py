"""The canvas: a tissue map and an object map painted together, in order.

The tissue decides the grey value, the object what a box would be drawn
around; a kidney is one object of three tissues.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.phantoms.fields import Mask

KEEP = -1
"""As object or tissue: leave what is there."""

_SHIFT = 4
"""Fractional bits of polygon corners, so that shapes do not snap to pixels."""


class Canvas:
    """Two maps of one size; later paint covers earlier paint.

    Parameters
    ----------
    shape : tuple of int
        (height, width) in pixels.
    scale : float
        Pixels per unit of the coordinates given to the paint methods.
    origin : tuple of float
        (x, y) in pixels of coordinate (0, 0).
    """

    def __init__(
        self,
        shape: tuple[int, int],
        scale: float = 1.0,
        origin: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.shape = shape
        self.scale = scale
        self.origin = np.array(origin, dtype=np.float64)
        self.tissue = np.zeros(shape, np.uint8)
        self.objects = np.zeros(shape, np.int16)

    def stencil(self) -> Mask:
        """Return an empty mask of the canvas size."""
        return np.zeros(self.shape, np.uint8)

    def polygon(self, points: NDArray, into: Mask | None = None) -> Mask:
        """Return a mask (0 or 1) of a filled polygon, (n, 2) points (x, y)."""
        mask = self.stencil() if into is None else into
        pixels = (np.asarray(points) * self.scale + self.origin) * (1 << _SHIFT)
        cv2.fillPoly(mask, [np.rint(pixels).astype(np.int32)], 1, cv2.LINE_8, _SHIFT)
        return mask

    def discs(self, centres: NDArray, radii: NDArray, into: Mask | None = None) -> Mask:
        """Return a mask (0 or 1) of a union of discs, (n, 2) and (n,)."""
        mask = self.stencil() if into is None else into
        pixels = (np.asarray(centres) * self.scale + self.origin) * (1 << _SHIFT)
        sizes = np.asarray(radii) * self.scale * (1 << _SHIFT)
        for (x, y), radius in zip(
            np.rint(pixels).astype(int).tolist(),
            np.rint(sizes).astype(int).tolist(),
            strict=True,
        ):
            if radius > 0:
                cv2.circle(mask, (x, y), radius, 1, -1, cv2.LINE_8, _SHIFT)
        return mask

    def paint(
        self, mask: Mask, tissue: int, label: int = KEEP, within: Mask | None = None
    ) -> Mask:
        """Paint a mask, only where `within` is set; return what was painted."""
        where = (mask & within if within is not None else mask).view(np.bool_)
        if tissue != KEEP:
            np.copyto(self.tissue, np.uint8(tissue), where=where)
        if label != KEEP:
            np.copyto(self.objects, np.int16(label), where=where)
        return where


def blob_outline(
    rng: np.random.Generator,
    radius: float,
    roughness: float,
    aspect: float = 1.0,
    exponent: float = 2.0,
    angle: float | None = None,
    points: int = 56,
) -> NDArray[np.float64]:
    """Return a closed star-shaped outline about the origin, (points, 2).

    A superellipse of the given exponent whose radius wavers by `roughness`
    (0 = smooth) and whose area is about that of a disc of `radius`.
    """
    theta = np.linspace(0.0, 2.0 * math.pi, points, endpoint=False)
    cosine, sine = np.cos(theta), np.sin(theta)
    base = (np.abs(cosine) ** exponent + np.abs(sine) ** exponent) ** (-1.0 / exponent)
    if roughness > 0:
        orders = np.arange(2, 8)
        weight = rng.normal(size=6) * roughness / orders
        phase = rng.uniform(0.0, 2.0 * math.pi, 6)
        base = base * np.exp(
            (weight[:, None] * np.cos(orders[:, None] * theta + phase[:, None])).sum(0)
        )
    stretch = math.sqrt(aspect)
    x, y = radius * stretch * base * cosine, radius / stretch * base * sine
    turn = rng.uniform(0.0, 2.0 * math.pi) if angle is None else angle
    return np.stack(
        [
            x * math.cos(turn) - y * math.sin(turn),
            x * math.sin(turn) + y * math.cos(turn),
        ],
        axis=1,
    )


def random_path(
    rng: np.random.Generator,
    start: NDArray,
    length: float,
    bend: float,
    steps: int = 24,
) -> NDArray[np.float64]:
    """Return a wandering polyline, (steps, 2), `bend` in radians a step."""
    turns = np.cumsum(rng.normal(0.0, bend, steps))
    turns = rng.uniform(0.0, 2.0 * math.pi) + np.convolve(
        turns, np.ones(4) / 4.0, mode="same"
    )
    step = length / steps
    return np.asarray(start) + np.cumsum(
        np.stack([np.cos(turns), np.sin(turns)], axis=1) * step, axis=0
    )
