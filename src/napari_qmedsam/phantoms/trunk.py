"""The trunk: a parametric body whose cut at any height can be painted."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.phantoms import chest, organs, skeleton
from napari_qmedsam.phantoms.canvas import KEEP, Canvas
from napari_qmedsam.phantoms.fields import Field, Mask, identity_map, remap_labels
from napari_qmedsam.phantoms.parts import Part, Span
from napari_qmedsam.phantoms.shapes import EllipseStack, stack
from napari_qmedsam.phantoms.tissues import Tissue

Z_RANGE = (-235.0, 200.0)
"""Lowest and highest cut, mm: from the hip joints to the top of the heart."""

_THETA = np.linspace(0.0, 2.0 * math.pi, 96, endpoint=False)


@dataclass(frozen=True, eq=False)
class Trunk:
    """One patient.

    Parameters
    ----------
    parts : tuple of Part
        In the order of painting.
    cavity : EllipseStack
        Inside of the muscle wall.
    wall, fat : tuple of float
        Thickness of muscle wall and subcutaneous fat: front, side, back (mm).
    domes : tuple of EllipseStack
        What lies below the diaphragm.
    mediastinum : EllipseStack
    displacement : ndarray, (n, n, n, 2)
        Coarse noise that warps everything, standard deviation 1.
    warp_mm : float
    """

    parts: tuple[Part, ...]
    cavity: EllipseStack
    wall: tuple[float, float, float]
    fat: tuple[float, float, float]
    domes: tuple[EllipseStack, ...]
    mediastinum: EllipseStack
    displacement: Field
    warp_mm: float

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        span: Span = Z_RANGE,
        warp_mm: float | None = None,
    ) -> "Trunk":
        """Draw a patient: build, fat, and every organ's place and form.

        What lies outside `span` (lowest and highest cut, mm) may be missing.
        """
        build = math.exp(rng.normal(0, 0.07))
        a, b = 132 * build, 76 * build * math.exp(rng.normal(0, 0.06))
        rows = [
            (-320, 0, -5, a * 0.98, b * 0.95, 0),
            (-200, 0, -8, a * 1.0, b, 0),
            (-60, 0, -12, a * 0.97, b, 0),
            (60, 0, -10, a * 1.02, b * 1.05, 0),
            (180, 0, -5, a * 0.95, b * 1.0, 0),
            (320, 0, 0, a * 0.75, b * 0.8, 0),
        ]
        cavity = stack(rng, rows, 0.25, float(rng.uniform(2.2, 2.8)))
        fat = float(np.exp(rng.normal(math.log(17), 0.5)))
        parts = [
            *skeleton.muscles(rng),
            *chest.chest(rng, span),
            *organs.abdomen(rng, span),
        ]
        parts += [
            *skeleton.spine(rng, span),
            *skeleton.ribs(rng, span, a, b),
            *skeleton.pelvis(rng, span),
        ]
        return cls(
            parts=tuple(parts),
            cavity=cavity,
            wall=(
                float(rng.uniform(5, 11)),
                float(rng.uniform(9, 18)),
                float(rng.uniform(38, 48)),
            ),
            fat=(
                fat * float(rng.uniform(0.7, 1.6)),
                fat * float(rng.uniform(0.5, 1.2)),
                fat * float(rng.uniform(0.4, 1.0)),
            ),
            domes=chest.domes(rng),
            mediastinum=chest.mediastinum(rng),
            displacement=rng.standard_normal((9, 9, 9, 2), dtype=np.float32),
            warp_mm=float(rng.uniform(2, 7)) if warp_mm is None else warp_mm,
        )

    def half_axes(self, z: float) -> tuple[float, float]:
        """Return half width and half depth of the body at a height."""
        values = self.cavity.cross_section(z)
        assert values is not None
        return (
            float(values[2] + self.wall[1] + self.fat[1]) + 3,
            float(values[3]) + (sum(self.wall[::2]) + sum(self.fat[::2])) / 2 + 3,
        )

    def numbers(self) -> dict[str, int]:
        """Return the object number of each name, from 1."""
        names = ["lung right", "lung left", *(p.name for p in self.parts)]
        return {
            name: i for i, name in enumerate(dict.fromkeys(n for n in names if n), 1)
        }

    def cut(self, canvas: Canvas, z: float) -> None:
        """Paint the cut at height z (mm) onto a canvas."""
        numbers = self.numbers()
        regions = self._shells(canvas, z)
        self._lungs(canvas, z, regions, numbers)
        for part in self.parts:
            part.paint(canvas, z, regions, numbers)
        self._warp(canvas, z)

    def _shells(self, canvas: Canvas, z: float) -> dict[str, Mask]:
        inner = self.cavity.outline(z)
        assert inner is not None
        theta = np.arctan2(inner[:, 1], inner[:, 0])
        muscle = inner + _thickness(theta, self.wall)[:, None] * _outward(theta)
        skin = muscle + _thickness(theta, self.fat)[:, None] * _outward(theta)
        body = canvas.polygon(skin * 1.012)
        canvas.paint(body, Tissue.SKIN)
        canvas.paint(canvas.polygon(skin), Tissue.FAT)
        wall = canvas.polygon(muscle)
        canvas.paint(wall, Tissue.MUSCLE)
        middle = 0.5 * (inner + muscle)
        ring = canvas.polygon(middle + 0.8 * _outward(theta)) & (
            1 - canvas.polygon(middle - 0.8 * _outward(theta))
        )
        canvas.paint(ring, Tissue.FAT)
        cavity = canvas.polygon(inner)
        canvas.paint(cavity, Tissue.VISCERAL_FAT)
        return {"body": body, "wall": wall, "cavity": cavity, "abdomen": cavity}

    def _lungs(
        self,
        canvas: Canvas,
        z: float,
        regions: dict[str, Mask],
        numbers: dict[str, int],
    ) -> None:
        if z < 30:
            return
        below = canvas.stencil()
        for dome in self.domes:
            outline = dome.outline(z)
            if outline is not None:
                canvas.polygon(outline, below)
        inner = self.cavity.outline(z, 2.0)
        middle = self.mediastinum.mask(canvas, z)
        if inner is None:
            return
        lungs = canvas.polygon(inner) & (1 - below)
        if middle is not None:
            lungs &= 1 - middle
        column = int(canvas.origin[0])
        for name, part in (
            ("lung right", np.s_[:, column:]),
            ("lung left", np.s_[:, :column]),
        ):
            side = lungs.copy()
            side[part] = 0
            canvas.paint(side, Tissue.LUNG, numbers[name])
        # The diaphragm: a thin line of muscle between lung and belly.
        skin = cv2.dilate(lungs, np.ones((3, 3), np.uint8)) & below
        canvas.paint(skin, Tissue.MUSCLE, KEEP, regions["cavity"])
        regions["abdomen"] = regions["cavity"] & below
        regions["lung"] = lungs

    def _warp(self, canvas: Canvas, z: float) -> None:
        low, high = Z_RANGE
        n = self.displacement.shape[0]
        place = np.clip((z - low) / (high - low), 0, 1) * (n - 1)
        index = min(int(place), n - 2)
        part = np.float32(place - index)
        noise = (1 - part) * self.displacement[index] + part * self.displacement[
            index + 1
        ]
        noise = cv2.resize(noise, canvas.shape[::-1], interpolation=cv2.INTER_CUBIC)
        x, y = identity_map(canvas.shape)
        amount = np.float32(self.warp_mm * canvas.scale)
        maps = x + amount * noise[..., 0], y + amount * noise[..., 1]
        canvas.tissue = remap_labels(canvas.tissue, maps)
        canvas.objects = remap_labels(canvas.objects, maps)


def _outward(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.cos(theta), np.sin(theta)], axis=1)


def _thickness(
    theta: NDArray[np.float64], values: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Front (theta -90 degrees), side and back thickness, joined smoothly."""
    front, side, back = values
    up = np.sin(theta)
    return side + np.where(
        up < 0, (front - side) * up**2, (back - side) * np.abs(up) ** 1.8
    )
