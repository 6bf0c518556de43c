"""Random slices with labelled objects: what the demo model is trained on.

A mixture of domain-randomised slices (any shapes, any grey values) and
anatomical ones, all from a seed.
"""

from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np

from napari_qmedsam.phantoms.appearance import Palette, Scan, acquire, tissue_image
from napari_qmedsam.phantoms.canvas import Canvas
from napari_qmedsam.phantoms.fields import Mask
from napari_qmedsam.phantoms.head import draw_head
from napari_qmedsam.phantoms.mosaic import draw_mosaic
from napari_qmedsam.phantoms.tissues import Tissue, ct_palette, mr_palette
from napari_qmedsam.phantoms.trunk import Z_RANGE, Trunk

SMALLEST_AREA = 60
"""Smallest labelled object, in square pixels of a 256-pixel frame."""

LARGEST_AREA = 0.27
"""Largest labelled object, as a part of the frame."""

MOSAIC_SHARE = 0.45
"""Part of the slices that show nothing anatomical."""

HEAD_SHARE = 0.1
"""Part of the slices that show a head; what is left are trunks."""

OVERSAMPLING = 1.375
"""Shapes are drawn on a finer grid than the frame, for partial volume."""


class PhantomKind(str, Enum):
    """What a phantom slice looks like; each kind serves as a modality."""

    CT = "CT"
    """Trunks, some heads, with the greys of a windowed CT."""

    MR = "MR"
    """Trunks and heads with the greys of an MR sequence."""

    MOSAIC = "Mosaic"
    """Nothing anatomical: any shapes, any greys."""


@dataclass(frozen=True, eq=False)
class PhantomSlice:
    """A slice and the objects on it.

    Parameters
    ----------
    image : ndarray, (size, size) uint8
        Min-max normalised; a non-square slice is padded with 0 below or to
        the right.
    labels : ndarray, (size, size) uint8
        0 where nothing is labelled; every other value is one object.
    """

    image: Mask
    labels: Mask


def random_slice(
    rng: np.random.Generator, size: int = 256, kind: PhantomKind | None = None
) -> PhantomSlice:
    """Draw one training slice with at least one labelled object.

    Parameters
    ----------
    rng : numpy.random.Generator
        All randomness comes from here: same state, same bytes.
    size : int
        Side of the square frame.
    kind : PhantomKind, optional
        Default: the mixture of all three.

    Returns
    -------
    PhantomSlice
    """
    while True:
        drawn = _draw(rng, size, kind)
        if drawn.labels.any():
            return drawn


def phantom_test_set(count: int, seed: int = 0) -> list[PhantomSlice]:
    """Return `count` slices that no training seed gives.

    The generators are spawned below a key of their own, so they never meet
    ``default_rng(n)`` or its children.
    """
    root = np.random.SeedSequence(entropy=seed, spawn_key=(0x7E57,))
    return [random_slice(np.random.default_rng(child)) for child in root.spawn(count)]


def _draw(
    rng: np.random.Generator, size: int, kind: PhantomKind | None
) -> PhantomSlice:
    shape = _frame(rng, size)
    drawn_shape = round(shape[0] * OVERSAMPLING), round(shape[1] * OVERSAMPLING)
    chance = rng.random()
    if kind is PhantomKind.MOSAIC:
        chance *= MOSAIC_SHARE
    elif kind is not None:
        chance = MOSAIC_SHARE + (1 - MOSAIC_SHARE) * chance
    is_mr = None if kind is None else kind is PhantomKind.MR
    if chance < MOSAIC_SHARE:
        canvas, palette = draw_mosaic(rng, drawn_shape)
    elif chance < MOSAIC_SHARE + HEAD_SHARE:
        canvas, palette = draw_head(rng, drawn_shape, is_mr)
    else:
        canvas, palette = draw_trunk(rng, drawn_shape, is_mr)
    return _scan_and_fit(rng, canvas, palette, shape, size)


def draw_trunk(
    rng: np.random.Generator, shape: tuple[int, int], is_mr: bool | None = None
) -> tuple[Canvas, Palette]:
    """Cut a random trunk at a random height; any place, size and distance.

    Its greys are those of MR or CT, by chance unless `is_mr` says it.
    """
    low, high = Z_RANGE
    z = float(
        np.clip(rng.normal(10, 60), low, high)
        if rng.random() < 0.7
        else rng.uniform(low, high)
    )
    trunk = Trunk.draw(rng, (z, z))
    width, depth = trunk.half_axes(z)
    fit = 0.5 * min(shape[1] / width, shape[0] / depth)
    scale = fit * (
        rng.uniform(0.84, 1.03) if rng.random() < 0.75 else rng.uniform(0.65, 1.7)
    )
    free = np.maximum(
        np.array(shape[::-1]) / 2 - scale * np.array([width, depth]), 0.08 * min(shape)
    )
    x, y = np.array(shape[::-1]) / 2 + rng.uniform(-0.8, 0.8, 2) * free
    canvas = Canvas(shape, scale, (x, y))
    trunk.cut(canvas, z)
    chance = rng.random() < 0.42
    if chance if is_mr is None else is_mr:
        return canvas, mr_palette(rng)
    if rng.random() < 0.3:
        _couch(rng, canvas, depth)
    return canvas, ct_palette(rng)


def _couch(rng: np.random.Generator, canvas: Canvas, depth: float) -> None:
    """Paint the table: one or two thin arcs in the air behind the back."""
    air = (canvas.tissue == Tissue.AIR).astype(np.uint8)
    x = np.linspace(-240, 240, 160)
    bend = rng.uniform(0.0006, 0.0022)
    for gap in np.cumsum(rng.uniform(4, 25, int(rng.integers(1, 3)))):
        arc = np.column_stack([x, depth + gap - bend * x**2])
        mask = canvas.discs(arc, np.full(x.size, rng.uniform(0.8, 1.8)))
        canvas.paint(mask, Tissue.COUCH, 0, air)


def _frame(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Height and width of the slice inside the frame; the longest is `size`."""
    if rng.random() < 0.45:
        return size, size
    short = int(size * rng.uniform(0.6, 1.0))
    return (short, size) if rng.random() < 0.7 else (size, short)


def _scan_and_fit(
    rng: np.random.Generator,
    canvas: Canvas,
    palette: Palette,
    shape: tuple[int, int],
    size: int,
) -> PhantomSlice:
    tissue, objects = _turned(rng, canvas, shape)
    image = tissue_image(rng, tissue, palette)
    scan = Scan.draw(rng, palette.is_mr, size)
    objects = _visible(rng, tissue, objects, palette, max(5.0, 0.8 * scan.noise))
    native = acquire(rng, image, scan, palette.is_mr)
    way = (cv2.INTER_LINEAR, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)[
        rng.integers(4)
    ]
    fitted = cv2.resize(native, (shape[1], shape[0]), interpolation=way)
    fitted = _full_range(fitted)
    kept = cv2.resize(
        objects, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT
    )
    framed = np.zeros((size, size), np.uint8)
    framed[: shape[0], : shape[1]] = fitted
    labels = np.zeros((size, size), np.uint8)
    labels[: shape[0], : shape[1]] = _boxable(kept, size)
    return PhantomSlice(framed, labels)


def _full_range(image: Mask) -> Mask:
    """Stretch to 0..255, as min-max normalisation does before the model."""
    return cv2.normalize(image, np.empty_like(image), 0, 255, cv2.NORM_MINMAX)


def _turned(
    rng: np.random.Generator, canvas: Canvas, shape: tuple[int, int]
) -> tuple[Mask, Mask]:
    tissue: Mask = canvas.tissue
    objects: Mask = canvas.objects
    if rng.random() < 0.3:
        tissue, objects = tissue[:, ::-1], objects[:, ::-1]
    if rng.random() < 0.3:
        tissue, objects = tissue[::-1], objects[::-1]
    if shape[0] == shape[1] and rng.random() < 0.2:
        tissue, objects = tissue.T, objects.T
    if rng.random() < 0.35:
        middle = (tissue.shape[1] / 2, tissue.shape[0] / 2)
        turn = cv2.getRotationMatrix2D(middle, float(rng.normal(0, 7)), 1.0)
        turn[:, :2] *= np.exp(rng.normal(0, 0.06, 2))
        turn[:, 2] = np.array(middle) - turn[:, :2] @ middle
        size, way = tissue.shape[::-1], cv2.INTER_NEAREST
        tissue = cv2.warpAffine(tissue, turn, size, None, way, cv2.BORDER_REFLECT)
        objects = cv2.warpAffine(objects, turn, size, None, way, cv2.BORDER_REFLECT)
    return np.ascontiguousarray(tissue), np.ascontiguousarray(objects)


def _visible(
    rng: np.random.Generator,
    tissue: Mask,
    objects: Mask,
    palette: Palette,
    contrast: float,
) -> Mask:
    """Keep the objects whose outline shows; of the rest, one in 25 stays."""
    grey = cv2.LUT(tissue, np.clip(palette.mean, 0, 255).reshape(1, 256))
    kernel = np.ones((3, 3), np.uint8)
    step = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, kernel) >= contrast
    edge = cv2.morphologyEx(objects, cv2.MORPH_GRADIENT, kernel) > 0
    count = int(objects.max()) + 1
    length = np.bincount(objects[edge], minlength=count)
    seen = np.bincount(objects[edge & step], minlength=count)
    keep = (seen >= 0.5 * length) | (rng.random(count) < 0.04)
    return np.where(keep, np.arange(count), 0).astype(np.int16)[objects]


def _boxable(objects: Mask, size: int) -> Mask:
    """Keep the objects of fair size, numbered from 1; the rest becomes 0."""
    areas = np.bincount(objects.ravel(), minlength=1)
    areas[0] = 0
    fits = np.flatnonzero(
        (areas >= SMALLEST_AREA * (size / 256) ** 2)
        & (areas <= LARGEST_AREA * size * size)
    )
    table = np.zeros(areas.size, np.uint8)
    table[fits[:255]] = np.arange(1, min(fits.size, 255) + 1)
    return table[objects]
