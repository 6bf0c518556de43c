"""Solid shapes that can be cut at any height: stacks of outlines, and tubes.

Coordinates are millimetres: x to the patient's left, y to the back, z to the
head, with the origin between the kidneys.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.phantoms.canvas import Canvas
from napari_qmedsam.phantoms.fields import Mask

_POINTS = 48
_THETA = np.linspace(0.0, 2.0 * math.pi, _POINTS, endpoint=False)
_COSINE, _SINE = np.cos(_THETA), np.sin(_THETA)
_ORDERS = np.arange(2, 7)
_ROOTS = np.sqrt(np.arange(1, 6))


@dataclass(frozen=True, eq=False)
class EllipseStack:
    """Ellipses that change with height; the squares of the axes are interpolated.

    Parameters
    ----------
    knots : ndarray, (k, 6)
        z, x, y, half axis a, half axis b, angle (radians); z rising. Half
        axes of 0 at the ends close the shape like an ellipsoid.
    exponent : float
        2 for ellipses, more for boxes.
    waves, phases : ndarray, (5,)
        Relative amplitude and phase of the ripples of order 2 to 6.
    """

    knots: NDArray[np.float64]
    exponent: float = 2.0
    waves: NDArray[np.float64] | None = None
    phases: NDArray[np.float64] | None = None

    def cross_section(self, z: float) -> NDArray[np.float64] | None:
        """Return x, y, a, b, angle at a height, or None outside."""
        k = self.knots
        if not k[0, 0] < z < k[-1, 0]:
            return None
        upper = int(np.searchsorted(k[:, 0], z))
        low, high = k[upper - 1], k[upper]
        part = (z - low[0]) / (high[0] - low[0])
        values = low[1:] + part * (high[1:] - low[1:])
        values[2:4] = np.sqrt(low[3:5] ** 2 + part * (high[3:5] ** 2 - low[3:5] ** 2))
        return values

    def outline(self, z: float, inset: float = 0.0) -> NDArray[np.float64] | None:
        """Return the outline (n, 2) at a height, shrunk by `inset`, or None."""
        values = self.cross_section(z)
        if values is None:
            return None
        x, y, a, b, angle = values.tolist()
        a, b = a - inset, b - inset
        if a <= 0.4 or b <= 0.4:
            return None
        base = np.ones(_POINTS)
        if self.exponent != 2.0:
            e = self.exponent
            base = (np.abs(_COSINE) ** e + np.abs(_SINE) ** e) ** (-1.0 / e)
        if self.waves is not None and self.phases is not None:
            ripple = self.waves[:, None] * np.cos(
                _ORDERS[:, None] * _THETA + self.phases[:, None] + 0.012 * z
            )
            base = base * np.exp(ripple.sum(0))
        u, v = a * base * _COSINE, b * base * _SINE
        c, s = math.cos(angle), math.sin(angle)
        return np.stack([x + u * c - v * s, y + u * s + v * c], axis=1)

    def mask(self, canvas: Canvas, z: float, inset: float = 0.0) -> Mask | None:
        """Return the cut as a mask, or None where there is none."""
        outline = self.outline(z, inset)
        return None if outline is None else canvas.polygon(outline)


@dataclass(frozen=True, eq=False)
class Tube:
    """Balls along a smooth curve: vessels, bowel, ribs, pancreas.

    Parameters
    ----------
    points : ndarray, (k, 3)
        x, y, z of the points the curve follows.
    radii : ndarray, (k,)
    bumps : ndarray, (m,)
        Relative change of the radius, evenly along the curve (haustra).
    dense : float
        Distance of the balls, in mean radii.
    """

    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    bumps: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    dense: float = 0.45

    @cached_property
    def balls(self) -> NDArray[np.float64]:
        """x, y, z and radius of each ball, (n, 4)."""
        steps = np.sqrt(((self.points[1:] - self.points[:-1]) ** 2).sum(1))
        along = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-3))])
        count = int(
            min(max(along[-1] / max(self.dense * self.radii.mean(), 0.8), 8), 240)
        )
        t = np.arange(count) * (along[-1] / (count - 1))
        table = (*self.points.T, self.radii)
        values = np.stack([np.interp(t, along, column) for column in table], axis=1)
        smooth = max(3, count // (2 * len(self.radii)) * 2 + 1)
        values = np.asarray(
            cv2.blur(values, (1, smooth), borderType=cv2.BORDER_REPLICATE), np.float64
        )
        bumps = np.interp(t, np.linspace(0, along[-1], self.bumps.size), self.bumps)
        values[:, 3] = np.maximum(values[:, 3] * (1 + bumps), 0.6)
        return values

    def mask(self, canvas: Canvas, z: float, inset: float = 0.0) -> Mask | None:
        """Return the cut as a mask, or None where there is none."""
        heights = self.points[:, 2]
        most = 1.6 * float(self.radii.max())
        if not heights.min() - most < z < heights.max() + most:
            return None
        balls = self.balls
        height = balls[:, 2] - z
        radii = balls[:, 3] - inset
        inside = (np.abs(height) < radii) & (radii > 0)
        if not inside.any():
            return None
        cut = np.sqrt(radii[inside] ** 2 - height[inside] ** 2)
        return canvas.discs(balls[inside, :2], cut)


def tube(
    rng: np.random.Generator,
    points: list[tuple[float, float, float]],
    radii: list[float],
    wander: float,
    ripple: float = 0.0,
) -> Tube:
    """Return a tube whose points wander (mm), with bumps of relative size `ripple`."""
    place = np.array(points) + wander * rng.standard_normal((len(points), 3))
    size = np.array(radii) * math.exp(0.15 * rng.standard_normal())
    bumps = ripple * rng.standard_normal(16) if ripple > 0 else np.zeros(2)
    return Tube(place, size, bumps)


Solid = EllipseStack | Tube


def stack(
    rng: np.random.Generator,
    rows: Sequence[Sequence[float]],
    vary: float = 1.0,
    exponent: float = 2.0,
    side: int = 1,
) -> EllipseStack:
    """Return a stack of (z, x, y, a, b, degrees) rows, varied at random.

    `vary` scales all variation, `side` -1 mirrors left and right.
    """
    knots = np.array(rows, dtype=np.float64)
    noise = rng.standard_normal((len(rows) + 4, 2))
    size = float(knots[:, 3:5].max())
    wobble = vary * min(0.12 * size, 4.0)
    knots[:, 5] = np.radians(knots[:, 5] + vary * 6 * noise[0, 0])
    knots[:, 3:5] *= np.exp(0.11 * vary * noise[1])
    knots[:, 1:3] += wobble * (noise[2] + 0.4 * noise[4:])
    knots[:, 0] += vary * 0.1 * size * noise[0, 1]
    if side < 0:
        knots[:, 1] *= -1
        knots[:, 5] *= -1
    waves = vary * 0.09 * rng.standard_normal(5) / _ROOTS
    return EllipseStack(knots, exponent, waves, 2 * math.pi * rng.random(5))
