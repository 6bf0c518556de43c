"""The head: brain, skull, eyes and, often, a tumour, as MR or CT shows them."""

import math

import cv2
import numpy as np

from napari_qmedsam.phantoms.appearance import Palette
from napari_qmedsam.phantoms.canvas import KEEP, Canvas, blob_outline, random_path
from napari_qmedsam.phantoms.fields import Mask, remap_labels, smooth_field, warp_map
from napari_qmedsam.phantoms.tissues import Tissue as T
from napari_qmedsam.phantoms.tissues import ct_palette, mr_palette


def draw_head(
    rng: np.random.Generator, shape: tuple[int, int], is_mr: bool | None = None
) -> tuple[Canvas, Palette]:
    """Draw an axial head slice, lengths in mm, with its grey values.

    The greys are mostly those of MR, unless `is_mr` settles it.

    Returns
    -------
    Canvas
        Every object has its own number.
    Palette
    """
    width, depth = rng.uniform(66, 80), rng.uniform(84, 102)
    height = rng.random()  # 0 at the skull base, 1 near the vertex
    shrink = 1.0 if height < 0.75 else 1.0 - 1.6 * (height - 0.75)
    width, depth = width * shrink, depth * shrink
    scale = min(shape[1] / (2 * width), shape[0] / (2 * depth)) * rng.uniform(0.7, 0.97)
    canvas = Canvas(shape, scale, (shape[1] / 2, shape[0] / 2))
    head = _Head(rng, canvas, width, depth)
    head.shells()
    if height < 0.3:
        head.base()
    else:
        head.folds()
        head.ventricles(height)
    head.vessels()
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.75 else 0):
        head.tumour()
    mm = scale
    maps = warp_map(rng, shape, ((5, 2.5 * mm), (12, 1.2 * mm), (40, 0.3 * mm)))
    canvas.tissue = remap_labels(canvas.tissue, maps)
    canvas.objects = remap_labels(canvas.objects, maps)
    chance = rng.random() >= 0.1
    if not (chance if is_mr is None else is_mr):
        return canvas, ct_palette(rng, (0.0, 80.0))
    palette = mr_palette(
        rng, str(rng.choice(["T1", "T2", "enhanced", "any"], p=[0.3, 0.25, 0.35, 0.1]))
    )
    if rng.random() < 0.7:  # scalp fat shines beside a dim, flat brain
        palette.mean[T.FAT] = rng.uniform(150, 255)
        dim = rng.uniform(0.45, 0.9)
        flat = rng.uniform(0.2, 1.0)
        matter = [T.GREY_MATTER, T.WHITE_MATTER, T.DEEP_GREY]
        centre = palette.mean[matter].mean()
        palette.mean[matter] = dim * (centre + flat * (palette.mean[matter] - centre))
        palette.mean[T.CSF] *= dim
        palette.mean[[T.TUMOUR_RIM, T.OEDEMA, T.NECROSIS]] *= dim
    return canvas, palette


class _Head:
    """State while one head is drawn."""

    def __init__(
        self, rng: np.random.Generator, canvas: Canvas, width: float, depth: float
    ) -> None:
        self.rng, self.canvas = rng, canvas
        self.width, self.depth = width, depth
        self.labels = 0
        self.brain = canvas.stencil()

    def label(self) -> int:
        self.labels += 1
        return self.labels

    def _oval(self, inset: float, wobble: float = 0.0) -> Mask:
        a, b = self.width - inset, self.depth - inset
        theta = np.linspace(0, 2 * math.pi, 72, endpoint=False)
        narrow = 1 - 0.1 * np.clip(-np.sin(theta), 0, 1)
        points = np.stack([a * np.cos(theta) * narrow, b * np.sin(theta)], axis=1)
        return self.canvas.polygon(points * (1 + wobble * np.cos(5 * theta))[:, None])

    def shells(self) -> None:
        """Skin, scalp fat, skull with marrow, fluid, brain."""
        rng, canvas = self.rng, self.canvas
        scalp, bone = rng.uniform(3, 9), rng.uniform(4, 9)
        canvas.paint(self._oval(0), T.SKIN)
        canvas.paint(self._oval(1.5), T.FAT)
        canvas.paint(
            self._oval(scalp),
            T.CORTICAL_BONE,
            self.label() if rng.random() < 0.3 else 0,
        )
        canvas.paint(self._oval(scalp + 0.3 * bone), T.MARROW)
        canvas.paint(self._oval(scalp + 0.7 * bone), T.CORTICAL_BONE)
        canvas.paint(self._oval(scalp + bone), T.CSF, 0)
        self.inset = scalp + bone + rng.uniform(1, 4)
        self.brain = self._oval(self.inset)
        label = self.label() if rng.random() < 0.25 else 0
        canvas.paint(self.brain, T.WHITE_MATTER, label)

    def folds(self) -> None:
        """Cortex and sulci near the surface; the falx in the middle."""
        rng, canvas = self.rng, self.canvas
        distance = cv2.distanceTransform(self.brain, cv2.DIST_L2, 3) / canvas.scale
        folds = smooth_field(rng, canvas.shape, rng.uniform(22, 34))
        grey = (distance + 5.0 * folds < rng.uniform(4, 9)) & (self.brain > 0)
        canvas.paint(grey.astype(np.uint8), T.GREY_MATTER)
        sulci = (np.abs(folds) < rng.uniform(0.04, 0.16)) & (
            distance < rng.uniform(5, 16)
        )
        canvas.paint(sulci.astype(np.uint8), T.CSF, KEEP, self.brain)
        falx = np.array(
            [
                [-0.8, -self.depth],
                [0.8, -self.depth],
                [0.8, self.depth],
                [-0.8, self.depth],
            ]
        )
        canvas.paint(canvas.polygon(falx), T.CSF, KEEP, self.brain)

    def ventricles(self, height: float) -> None:
        """Side ventricles, deep grey, third ventricle."""
        rng, canvas = self.rng, self.canvas
        if height > 0.85:
            return
        size = rng.uniform(0.6, 1.6)
        own = self.label()
        for side in (-1, 1):
            nucleus = blob_outline(rng, 11, 0.1, 1.8, 2.0, side * 1.2) + [side * 20, 2]
            canvas.paint(canvas.polygon(nucleus), T.DEEP_GREY, self.label())
            path = np.array(
                [
                    (side * 4, -22),
                    (side * 5, -8),
                    (side * 9, 8),
                    (side * 20, 26),
                    (side * 24, 36),
                ]
            )
            t = np.linspace(0, 4, 30)
            centres = np.column_stack(
                [np.interp(t, range(5), path[:, i]) for i in (0, 1)]
            )
            radii = size * np.interp(t, range(5), [4.5, 4, 3.0, 5.0, 2.0])
            canvas.paint(canvas.discs(centres, radii), T.CSF, own)
        third = blob_outline(rng, 4.0, 0.0, 5.0, 2.0, math.pi / 2) + [0, 6]
        canvas.paint(canvas.polygon(third), T.CSF, self.label())

    def base(self) -> None:
        """Eyes, sinuses, brain stem, cerebellum, muscles of the face."""
        rng, canvas = self.rng, self.canvas
        face = canvas.polygon(
            np.array([[-80, -10], [80, -10], [80, -120], [-80, -120]], float)
        )
        face &= self._oval(4)
        canvas.paint(face, T.MUSCLE, 0)
        for _ in range(int(rng.integers(10, 24))):
            place = [rng.uniform(-60, 60), rng.uniform(-80, -5)]
            tissue = (T.FAT, T.CORTICAL_BONE, T.GAS, T.MUSCLE, T.MARROW)[
                rng.integers(5)
            ]
            blob = blob_outline(rng, rng.uniform(3, 13), 0.3, rng.uniform(1, 3)) + place
            canvas.paint(
                canvas.polygon(blob),
                tissue,
                self.label() if rng.random() < 0.5 else 0,
                face,
            )
        for side in (-1, 1):
            orbit = blob_outline(rng, 17, 0.05) + [side * 33, -62]
            canvas.paint(canvas.polygon(orbit), T.FAT, 0, face)
            eye = blob_outline(rng, 11.5, 0.0) + [side * 34, -66]
            canvas.paint(canvas.polygon(eye), T.EYE, self.label(), face)
            temple = blob_outline(rng, 24, 0.1, 1.3) + [side * 34, -14]
            canvas.paint(canvas.polygon(temple), T.GREY_MATTER, self.label())
            cerebellum = blob_outline(rng, 28, 0.06, 1.2, 2.0, 0.0) + [side * 24, 44]
            canvas.paint(
                canvas.polygon(cerebellum), T.GREY_MATTER, self.label(), self.brain
            )
        stem = blob_outline(rng, 14, 0.08, 1.2, 2.2, 0.0) + [0, 10]
        canvas.paint(canvas.polygon(stem), T.WHITE_MATTER, self.label())
        fourth = blob_outline(rng, 6, 0.1, 1.6, 2.0, 0.0) + [0, 26]
        canvas.paint(canvas.polygon(fourth), T.CSF, self.label())

    def vessels(self) -> None:
        """Bright or dark threads near the surface."""
        rng, canvas = self.rng, self.canvas
        tissue = T.VEIN if rng.random() < 0.7 else T.ARTERY
        for _ in range(int(rng.integers(2, 14))):
            angle = rng.uniform(0, 2 * math.pi)
            start = np.array(
                [self.width * math.cos(angle), self.depth * math.sin(angle)]
            ) * rng.uniform(0.6, 0.9)
            path = random_path(rng, start, rng.uniform(8, 30), 0.3, 24)
            canvas.paint(
                canvas.discs(path, np.full(24, rng.uniform(0.4, 1.2))),
                tissue,
                KEEP,
                self.brain,
            )

    def tumour(self) -> None:
        """Paint a lesion: solid, ring-enhancing or cystic, within oedema."""
        rng, canvas = self.rng, self.canvas
        angle = rng.uniform(0, 2 * math.pi)
        reach = math.sqrt(rng.uniform(0.0, 0.72))
        place = reach * np.array(
            [
                (self.width - self.inset) * math.cos(angle),
                (self.depth - self.inset) * math.sin(angle),
            ]
        )
        radius = math.exp(rng.uniform(math.log(4.5), math.log(24)))
        if rng.random() < 0.65:
            swelling = canvas.polygon(
                blob_outline(rng, radius * rng.uniform(1.4, 2.2), 0.35) + place
            )
            canvas.paint(
                swelling,
                T.OEDEMA,
                self.label() if rng.random() < 0.4 else KEEP,
                self.brain,
            )
        outline = blob_outline(
            rng,
            radius,
            float(rng.uniform(0.1, 0.45)),
            math.exp(abs(rng.normal(0, 0.3))),
        )
        mask = canvas.polygon(outline + place)
        own = self.label()
        kind = rng.random()
        canvas.paint(mask, T.TUMOUR_RIM if kind < 0.8 else T.LESION, own, self.brain)
        if kind < 0.5:
            core = canvas.polygon(
                outline * rng.uniform(0.4, 0.85)
                + place
                + rng.normal(0, 0.1 * radius, 2)
            )
            canvas.paint(core, T.NECROSIS, KEEP, mask & self.brain)
        elif kind < 0.65:
            for _ in range(int(rng.integers(1, 5))):
                spot = (
                    blob_outline(rng, radius * rng.uniform(0.15, 0.4), 0.3)
                    + place
                    + rng.normal(0, 0.5 * radius, 2)
                )
                canvas.paint(canvas.polygon(spot), T.NECROSIS, KEEP, mask & self.brain)
