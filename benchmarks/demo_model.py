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
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pages import put_between

from napari_qmedsam.evaluation.metrics import dice
from napari_qmedsam.evaluation.prompted_slices import PromptedSlice, prompted_slices
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.phantoms.random_slices import phantom_test_set
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes import Volume, Window, read_labels, read_volume

PHANTOM_SLICES = 100
SEED = 0

COMPACT_FILL = 0.6
THIN_FILL = 0.3
COMPACT, THIN = "model, compact objects", "model, thin objects"

BEST = "best interval, truth known"
LEVELS = 25
"""Quantiles of the greys in a box between which intervals lie."""


Slices = Callable[[int], Iterator[PromptedSlice]]
"""Gives the slices of a data set, boxes moved by up to so many pixels."""


def of_volume(image: Path, labels: Path, jitter: int) -> Iterator[PromptedSlice]:
    volume = read_volume(image)
    reference = read_labels(labels, like=volume).array
    return prompted_slices(volume, reference, box_jitter=jitter)


def of_phantoms(jitter: int) -> Iterator[PromptedSlice]:
    rng = np.random.default_rng(SEED)
    for phantom in phantom_test_set(PHANTOM_SLICES, SEED):
        yield from prompted_slices(
            Volume(phantom.image[None]),
            phantom.labels[None],
            window=Window(0, 255),
            box_jitter=jitter,
            rng=rng,
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
    slices: Iterator[PromptedSlice], segmenter: SliceSegmenter
) -> dict[str, list[Scores]]:
    """Scores of every object, by rule and for the model."""
    found: dict[str, list[Scores]] = {}
    for item in slices:
        if not item.class_ids:
            continue
        image = item.image
        masks = segmenter.segment_slice(
            item.volume, item.slice_index, item.boxes, item.window
        )
        answers = {
            name: [rule(image, box) for box in item.boxes]
            for name, rule in RULES.items()
        }
        answers[BEST] = [
            best_interval(image, box, truth)
            for box, truth in zip(item.boxes, item.truths, strict=True)
        ]
        for name, given in answers.items():
            found.setdefault(name, []).extend(item.scores(np.array(given)))
        for truth, score in zip(item.truths, item.scores(masks), strict=True):
            for column in ("model", kind_of(truth)):
                if column:
                    found.setdefault(column, []).append(score)
    return found


def table(
    cases: dict[str, Slices], segmenter: SliceSegmenter, jitter: int
) -> Iterator[str]:
    columns = [*RULES, BEST, "model", COMPACT, THIN]
    yield "| data | objects | " + " | ".join([*columns, "model, jitter"]) + " |"
    yield "| --- | ---: |" + " ---: |" * (len(columns) + 1)
    for name, slices in cases.items():
        tight = scores(slices(0), segmenter)
        moved = scores(slices(jitter), segmenter)["model"]
        cells = [_cell(tight.get(column, [])) for column in columns] + [_cell(moved)]
        yield f"| {name} | {len(moved)} | " + " | ".join(cells) + " |"


def _cell(items: list[Scores]) -> str:
    """Return DSC and NSD, for a table with more columns than a page has room for."""
    if not items:
        return ""
    return " / ".join(Scores.mean(items).cells("{:.1f}")[:2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="*", metavar="NAME=IMAGE,LABELS")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--jitter", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cases: dict[str, Slices] = {"phantoms": of_phantoms}
    for given in arguments.volumes:
        name, _, files = given.partition("=")
        image, labels = (Path(part) for part in files.split(","))
        cases[name] = partial(of_volume, image, labels)
    segmenter = SliceSegmenter(load_backend(arguments.model))
    text = "\n".join(table(cases, segmenter, arguments.jitter))
    print(text)
    if arguments.out:
        put_between(arguments.out, "scores", text)


if __name__ == "__main__":
    main()
