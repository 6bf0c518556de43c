"""Score a model on phantoms, and on labelled volumes given, beside simple rules.

    python benchmarks/demo_model.py [NAME=IMAGE,LABELS ...]
        [--model demo] [--jitter 5] [--out docs/demo-model.md]

Each class on each slice with at least 100 voxels is prompted by its tight box.
The simple rules show what a box alone is worth: filled, its inscribed ellipse,
and Otsu's threshold inside it, whichever side overlaps the ellipse more. The best
interval is no rule: of the grey intervals in the box it is the one that overlaps the
truth most, so it tells what greys alone could give. Compact objects are in one piece
and fill three fifths of their box or more; thin ones fill less than three tenths. The
phantoms are 100 slices that no training seed gives.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray
from pages import put_between

from napari_qmedsam.evaluation.metrics import dice, normalized_surface_distance
from napari_qmedsam.evaluation.volumes import MINIMUM_VOXELS
from napari_qmedsam.phantoms.random_slices import phantom_test_set
from napari_qmedsam.preprocessing import slice_image
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes import Volume, Window, read_labels, read_volume

TOLERANCE_MM = 2.0
PHANTOM_SLICES = 100
SEED = 0

COMPACT_FILL = 0.6
THIN_FILL = 0.3
COMPACT, THIN = "model, compact objects", "model, thin objects"

BEST = "best interval, truth known"
LEVELS = 25
"""Quantiles of the greys in a box between which intervals lie."""


@dataclass(frozen=True)
class LabelledSlice:
    """One slice of a volume, windowed, with its labels and pixel spacing."""

    volume: Volume
    slice_index: int
    window: Window
    labels: NDArray

    @property
    def image(self) -> NDArray[np.uint8]:
        return slice_image(self.volume.array, self.slice_index, self.window)


def of_volume(image: Path, labels: Path) -> Iterator[LabelledSlice]:
    volume = read_volume(image)
    reference = read_labels(labels, like=volume).array
    window = volume.default_window()
    for index, plane in enumerate(reference):
        yield LabelledSlice(volume, index, window, plane)


def of_phantoms() -> Iterator[LabelledSlice]:
    for phantom in phantom_test_set(PHANTOM_SLICES, SEED):
        yield LabelledSlice(
            Volume(phantom.image[None]), 0, Window(0, 255), phantom.labels
        )


Rule = Callable[[NDArray[np.uint8], Box2D], NDArray[np.bool_]]


def filled(image: NDArray[np.uint8], box: Box2D) -> NDArray[np.bool_]:
    mask = np.zeros(image.shape, bool)
    mask[int(box.y_min) : int(box.y_max), int(box.x_min) : int(box.x_max)] = True
    return mask


def ellipse(image: NDArray[np.uint8], box: Box2D) -> NDArray[np.bool_]:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    dx = (2 * x - box.x_min - box.x_max) / (box.x_max - box.x_min)
    dy = (2 * y - box.y_min - box.y_max) / (box.y_max - box.y_min)
    return dx * dx + dy * dy <= 1


def otsu(image: NDArray[np.uint8], box: Box2D) -> NDArray[np.bool_]:
    inside = filled(image, box)
    cut, _ = cv2.threshold(image[inside], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    bright, dark = inside & (image > cut), inside & (image <= cut)
    middle = ellipse(image, box)
    return bright if dice(bright, middle) >= dice(dark, middle) else dark


def best_interval(
    image: NDArray[np.uint8], box: Box2D, truth: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    inside = filled(image, box)
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.5)
    wanted, greys = truth[inside], smooth[inside]
    levels = np.quantile(greys, np.linspace(0, 1, LEVELS))
    # Pixels up to each level, all of them and those of the object.
    counts = np.searchsorted(np.sort(greys), levels, "right")
    hits = np.searchsorted(np.sort(greys[wanted]), levels, "right")
    counts, hits = (np.concatenate([[0], each]) for each in (counts, hits))
    sizes = counts[None] - counts[:, None]
    overlap = 2 * (hits[None] - hits[:, None]) / np.maximum(sizes + truth.sum(), 1)
    overlap[sizes <= 0] = 0
    first, last = np.unravel_index(np.argmax(overlap), overlap.shape)
    above = -np.inf if first == 0 else levels[first - 1]
    return inside & (smooth > above) & (smooth <= levels[last - 1])


def kind_of(mask: NDArray[np.bool_]) -> str | None:
    box = Box2D.enclosing(mask)
    pieces = cv2.connectedComponents(mask.astype(np.uint8))[0] - 1
    fill = mask.sum() / ((box.x_max - box.x_min) * (box.y_max - box.y_min))
    if pieces == 1 and fill >= COMPACT_FILL:
        return COMPACT
    return THIN if fill < THIN_FILL else None


RULES: dict[str, Rule] = {
    "filled box": filled,
    "inscribed ellipse": ellipse,
    "Otsu inside the box": otsu,
}


def scores(
    slices: Iterator[LabelledSlice], segmenter: SliceSegmenter, jitter: int
) -> dict[str, list[tuple[float, float]]]:
    """DSC and NSD of every object, by rule and for the model."""
    found: dict[str, list[tuple[float, float]]] = {}
    rng = np.random.default_rng(SEED)
    for item in slices:
        values, counts = np.unique(item.labels, return_counts=True)
        truths = [
            item.labels == value
            for value, count in zip(values, counts, strict=True)
            if value and count >= MINIMUM_VOXELS
        ]
        if not truths:
            continue
        image = item.image
        boxes = [
            Box2D.enclosing(truth).jitter(jitter, *image.shape, rng) for truth in truths
        ]
        masks = segmenter.segment_slice(
            item.volume, item.slice_index, boxes, item.window
        )
        spacing = item.volume.spacing_mm[1:]
        for truth, box, mask in zip(truths, boxes, masks, strict=True):
            answers = {name: rule(image, box) for name, rule in RULES.items()}
            answers[BEST] = best_interval(image, box, truth)
            for name, answer in (answers | {"model": mask}).items():
                pair = (
                    dice(answer, truth),
                    normalized_surface_distance(answer, truth, spacing, TOLERANCE_MM),
                )
                found.setdefault(name, []).append(pair)
                if name == "model" and (kind := kind_of(truth)):
                    found.setdefault(kind, []).append(pair)
    return found


def table(
    cases: dict[str, Callable[[], Iterator[LabelledSlice]]],
    segmenter: SliceSegmenter,
    jitter: int,
) -> Iterator[str]:
    columns = [*RULES, BEST, "model", COMPACT, THIN]
    yield "| data | objects | " + " | ".join([*columns, "model, jitter"]) + " |"
    yield "| --- | ---: |" + " ---: |" * (len(columns) + 1)
    for name, slices in cases.items():
        tight = scores(slices(), segmenter, 0)
        moved = scores(slices(), segmenter, jitter)["model"]
        cells = [_cell(tight.get(column, [])) for column in columns] + [_cell(moved)]
        yield f"| {name} | {len(moved)} | " + " | ".join(cells) + " |"


def _cell(pairs: list[tuple[float, float]]) -> str:
    if not pairs:
        return ""
    dsc, nsd = (100 * fmean(column) for column in zip(*pairs, strict=True))
    return f"{dsc:.1f} / {nsd:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="*", metavar="NAME=IMAGE,LABELS")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--jitter", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cases: dict[str, Callable[[], Iterator[LabelledSlice]]] = {"phantoms": of_phantoms}
    for given in arguments.volumes:
        name, _, files = given.partition("=")
        image, labels = (Path(part) for part in files.split(","))
        cases[name] = lambda i=image, r=labels: of_volume(i, r)
    segmenter = SliceSegmenter(load_backend(arguments.model))
    text = "\n".join(table(cases, segmenter, arguments.jitter))
    print(text)
    if arguments.out:
        put_between(arguments.out, "scores", text)


if __name__ == "__main__":
    main()
