"""The mosaic: a slice of shapes that stand for nothing in particular.

Organs touch, hide one another, have walls, contents, holes and lesions; so
do these. Grey values are drawn after the shapes, so no shape has its own.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.phantoms.appearance import Palette
from napari_qmedsam.phantoms.canvas import KEEP, Canvas, blob_outline, random_path
from napari_qmedsam.phantoms.fields import Mask, remap_labels, smooth_field, warp_map
from napari_qmedsam.phantoms.greys import GreyChooser


def draw_mosaic(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[Canvas, Palette]:
    """Draw a random arrangement and its grey values.

    Returns
    -------
    Canvas
        Every object has its own number.
    Palette
    """
    painter = _Painter(rng, shape)
    painter.ground()
    if rng.random() < 0.65:
        painter.partition()
    for _ in range(int(rng.integers(3, 22))):
        painter.thing()
    for _ in range(int(rng.integers(0, 12)) if rng.random() < 0.5 else 0):
        painter.strand()
    canvas = painter.canvas
    unit = max(shape) / 256
    maps = warp_map(
        rng,
        shape,
        (
            (rng.uniform(3, 6), rng.uniform(0, 9) * unit),
            (rng.uniform(8, 20), rng.uniform(0, 4) * unit),
            (rng.uniform(25, 60), rng.uniform(0, 1.2) * unit),
        ),
    )
    canvas.tissue = remap_labels(canvas.tissue, maps)
    canvas.objects = remap_labels(canvas.objects, maps)
    return canvas, painter.palette


class _Painter:
    """State while one mosaic is drawn; lengths in pixels of a 256 frame."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self.rng = rng
        unit = max(shape) / 256
        self.canvas = Canvas(shape, scale=unit)
        self.extent = np.array([shape[1], shape[0]]) / unit
        self.palette = Palette(is_mr=bool(rng.random() < 0.5))
        self.inside = np.ones(shape, np.uint8)
        self.tissues = 0
        self.labels = 0
        self.greys = GreyChooser(rng, self.palette.is_mr)

    def tissue(self, near: float | None = None) -> int:
        """Return a new tissue, of a grey near another's if asked."""
        if self.tissues >= 250:
            return int(self.rng.integers(1, 251))
        self.tissues += 1
        mean, texture = self.greys.draw(near)
        self.palette.set(self.tissues, mean, texture)
        return self.tissues

    def label(self) -> int:
        self.labels += 1
        return self.labels

    def ground(self) -> None:
        """Fill the frame, or a body with air around and shells inside."""
        rng, canvas = self.rng, self.canvas
        if rng.random() < 0.35:
            canvas.tissue[:] = self.tissue()
            return
        self.palette.set(
            0,
            float(rng.uniform(0, 6))
            if rng.random() < 0.9
            else float(rng.uniform(0, 120)),
        )
        half = self.extent / 2
        aspect = half[0] / half[1] * math.exp(rng.normal(0, 0.1))
        radius = math.sqrt(half[0] * half[1]) * rng.uniform(0.7, 1.02)
        outline = blob_outline(
            rng, radius, rng.uniform(0, 0.15), aspect, rng.uniform(2, 3), 0.0
        )
        centre = half + rng.normal(0, 0.04, 2) * self.extent
        for _ in range(int(rng.integers(1, 5))):
            mask = canvas.polygon(outline + centre)
            canvas.paint(mask, self.tissue())
            self.inside = mask
            outline = outline * (1 - rng.uniform(0.02, 0.14)) + rng.normal(0, 1.0, 2)

    def partition(self) -> None:
        """Cut the inside into touching regions, each component an object."""
        rng, canvas = self.rng, self.canvas
        labelled = rng.random() < 0.75
        if rng.random() < 0.5:
            count = int(rng.integers(2, 6))
            cells = rng.uniform(3, 11)
            small = max(8, canvas.shape[0] // 2), max(8, canvas.shape[1] // 2)
            fields = np.stack([smooth_field(rng, small, cells) for _ in range(count)])
            classes = fields.argmax(0).astype(np.uint8)
            classes = cv2.resize(
                classes, canvas.shape[::-1], interpolation=cv2.INTER_NEAREST
            )
            for index in range(count):
                if rng.random() < 0.3:
                    continue
                mask = (classes == index).astype(np.uint8) & self.inside
                self._paint_components(mask, labelled)
        else:
            self._voronoi(labelled)

    def _paint_components(self, mask: Mask, labelled: bool) -> None:
        shared = self.tissue()
        own = self.rng.random() < 0.3
        count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        self.canvas.paint(mask, shared)
        for part in range(1, min(count, 14)):
            if stats[part, cv2.CC_STAT_AREA] < 80:
                continue
            where = (parts == part).astype(np.uint8)
            self.canvas.paint(
                where, self.tissue() if own else KEEP, self.label() if labelled else 0
            )

    def _voronoi(self, labelled: bool) -> None:
        rng, canvas = self.rng, self.canvas
        count = int(rng.integers(6, 40))
        seeds = np.ones(canvas.shape, np.uint8)
        ys = rng.integers(0, canvas.shape[0], count)
        xs = rng.integers(0, canvas.shape[1], count)
        seeds[ys, xs] = 0
        _, cells = cv2.distanceTransformWithLabels(
            seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        tissue_of = np.array([0] + [self.tissue() for _ in range(count)], np.uint8)
        label_of = np.array([0] + [self.label() for _ in range(count)], np.int16)
        if not labelled:
            label_of[:] = 0
        gone = rng.random(count + 1) < rng.uniform(0, 0.6)
        where = self.inside.astype(bool) & ~gone[cells]
        if rng.random() < 0.5:
            wide = int(rng.integers(2, 6))
            inner = cv2.morphologyEx(
                cells.astype(np.float32),
                cv2.MORPH_GRADIENT,
                np.ones((wide, wide), np.uint8),
            )
            where &= inner == 0
        np.copyto(canvas.tissue, tissue_of[cells], where=where)
        np.copyto(canvas.objects, label_of[cells], where=where)

    def thing(self) -> None:
        """Paint one object: a blob, tube, cluster or crescent, perhaps walled."""
        rng = self.rng
        centre = rng.uniform(0.06, 0.94, 2) * self.extent
        radius = math.exp(rng.uniform(math.log(4.5), math.log(55)))
        label = self.label() if rng.random() < 0.88 else 0
        tissue = self.tissue(self._grey_at(centre))
        kind = rng.random()
        within = self.inside if rng.random() < 0.85 else None
        if kind < 0.55:
            self._blob(centre, radius, tissue, label, within)
        elif kind < 0.75:
            self._tube(centre, radius, tissue, label, within)
        elif kind < 0.87:
            for _ in range(int(rng.integers(2, 6))):
                part = centre + rng.normal(0, radius, 2)
                mask = self._patch(part, radius * rng.uniform(0.25, 0.8))
                self.canvas.paint(mask, tissue, label, within)
        else:
            mask = self._patch(centre, radius)
            bite = self._patch(
                centre + rng.normal(0, 0.6, 2) * radius, radius * rng.uniform(0.5, 0.9)
            )
            self.canvas.paint(mask & (1 - bite), tissue, label, within)

    def _patch(self, centre: NDArray, radius: float) -> Mask:
        return self.canvas.polygon(self._outline(radius, 0.5) + centre)

    def _outline(self, radius: float, stretch: float) -> NDArray:
        rng = self.rng
        return blob_outline(
            rng,
            radius,
            float(rng.choice([0.0, 0.15, 0.35, 0.6])),
            math.exp(abs(rng.normal(0, stretch))),
            float(rng.uniform(1.6, 3.5)),
        )

    def _blob(
        self,
        centre: NDArray,
        radius: float,
        tissue: int,
        label: int,
        within: NDArray | None,
    ) -> None:
        rng, canvas = self.rng, self.canvas
        outline = self._outline(radius, 0.45)
        mask = canvas.polygon(outline + centre)
        canvas.paint(mask, tissue, label, within)
        own = mask if within is None else mask & within
        if radius > 8 and rng.random() < 0.35:
            shrink = (
                1 - rng.uniform(1.5, 6.0) / radius
                if rng.random() < 0.7
                else rng.uniform(0.4, 0.8)
            )
            content = canvas.polygon(outline * shrink + centre)
            hollow = rng.random()
            inner_label = (
                KEEP if hollow < 0.6 else (self.label() if hollow < 0.8 else 0)
            )
            canvas.paint(content, self.tissue(), inner_label, own)
            if rng.random() < 0.3:
                level = int(
                    (centre[1] + rng.uniform(-0.5, 0.5) * radius) * canvas.scale
                )
                gas = content.copy()
                gas[max(level, 0) :] = 0
                canvas.paint(gas, self.tissue(), KEEP, own)
        if radius > 14:
            self._inclusions(centre, radius, tissue, own)

    def _inclusions(
        self, centre: NDArray, radius: float, tissue: int, own: NDArray
    ) -> None:
        rng, canvas = self.rng, self.canvas
        chance = rng.random()
        if chance < 0.25:
            vessel = self.tissue(float(self.palette.mean[tissue]))
            for _ in range(int(rng.integers(1, 6))):
                start = centre + rng.normal(0, 0.4, 2) * radius
                path = random_path(rng, start, radius * rng.uniform(0.5, 1.5), 0.4, 16)
                widths = np.linspace(rng.uniform(1.5, 3.5), 0.6, 16)
                canvas.paint(canvas.discs(path, widths), vessel, KEEP, own)
        elif chance < 0.5:
            for _ in range(int(rng.integers(1, 4))):
                spot = centre + rng.normal(0, 0.4, 2) * radius
                mask = self._patch(spot, radius * rng.uniform(0.1, 0.4))
                own_label = self.label() if rng.random() < 0.6 else KEEP
                canvas.paint(
                    mask, self.tissue(float(self.palette.mean[tissue])), own_label, own
                )
        elif chance < 0.58:
            spot = centre + rng.normal(0, 0.2, 2) * radius
            mask = self._patch(spot, radius * rng.uniform(0.2, 0.5))
            canvas.paint(mask, self.tissue(), 0, own)

    def _tube(
        self,
        centre: NDArray,
        radius: float,
        tissue: int,
        label: int,
        within: NDArray | None,
    ) -> None:
        rng, canvas = self.rng, self.canvas
        width = max(1.5, radius * rng.uniform(0.12, 0.4))
        steps = 40
        path = random_path(
            rng, centre, radius * rng.uniform(2, 5), rng.uniform(0.05, 0.35), steps
        )
        widths = width * np.exp(
            0.25
            * np.interp(np.arange(steps), np.linspace(0, steps, 7), rng.normal(size=7))
        )
        canvas.paint(canvas.discs(path, widths), tissue, label, within)
        if width > 4 and rng.random() < 0.5:
            wall = rng.uniform(1.2, 0.5 * width)
            canvas.paint(canvas.discs(path, widths - wall), self.tissue(), KEEP, within)

    def strand(self) -> None:
        """Paint a thin unlabelled line: fascia, a small vessel, a catheter."""
        rng = self.rng
        path = random_path(
            rng, rng.uniform(0, 1, 2) * self.extent, rng.uniform(20, 160), 0.15, 60
        )
        mask = self.canvas.discs(path, np.full(60, rng.uniform(0.5, 1.5)))
        self.canvas.paint(mask, self.tissue(), KEEP, self.inside)

    def _grey_at(self, centre: NDArray) -> float | None:
        if self.rng.random() < 0.4:
            return None
        x, y = np.clip(
            centre * self.canvas.scale, 0, np.array(self.canvas.shape[::-1]) - 1
        ).astype(int)
        return float(self.palette.mean[self.canvas.tissue[y, x]])
