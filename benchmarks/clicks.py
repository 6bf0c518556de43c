"""Test whether a click beside a careless box makes a mask better or worse.

python benchmarks/clicks.py NAME=IMAGE,LABELS ... [--model qmedsam_lite ...]

Every object of 300 pixels of the model input and more, on every fourth slice, by a box
with each side moved by up to 15 % of its extent (seed 0). Then the same box with one
click in the middle of the largest error, in the object or beside it, and with one in
the middle of the object. Mean DSC on the model input, and the share of objects that
lose more than 5 by the first click.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from effort import of_files
from pages import put_between

from napari_qmedsam.overlap import dice
from napari_qmedsam.preprocessing import SliceGeometry, slice_image
from napari_qmedsam.runtime import Backend, load_backend
from napari_qmedsam.volumes import Volume

LEAST, EVERY, MOVED = 300, 4, 0.15


def scores(backend: Backend, volume: Volume, labels: np.ndarray) -> Iterator[list]:
    rng = np.random.default_rng(0)
    geometry = SliceGeometry.of(backend.config, *labels.shape[1:])
    rows, columns = geometry.content
    size = backend.config.input_size
    for z in range(1, len(labels), EVERY):
        image = slice_image(volume.array, z, volume.default_window())
        embedding = backend.encode(geometry.prepare(image))
        shown = np.zeros((size, size), np.float32)
        shown[:rows, :columns] = cv2.resize(
            labels[z].astype(np.float32),
            (columns, rows),
            interpolation=cv2.INTER_NEAREST_EXACT,
        )
        for value in np.unique(shown)[1:]:
            truth = shown == value
            if truth.sum() < LEAST:
                continue
            box = moved(truth, rng)

            def mask(points=None, box=box, embedding=embedding):
                logits = backend.decode(embedding, box[None], points)[0]
                return cv2.resize(logits, (size, size)) > 0

            found = mask()
            missed, extra = truth & ~found, found & ~truth
            of_error = (
                click(missed, 1) if missed.sum() >= extra.sum() else click(extra, 0)
            )
            masks = found, mask(of_error), mask(click(truth, 1))
            yield [100 * dice(each, truth) for each in masks]


def moved(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x, y = np.flatnonzero(truth.any(0)), np.flatnonzero(truth.any(1))
    box = np.array([x[0], y[0], x[-1], y[-1]], np.float32)
    extent = np.tile(box[2:] - box[:2], 2)
    box += rng.uniform(-MOVED, MOVED, 4) * extent
    return np.clip(box.round(), 0, len(truth) - 1).astype(np.float32)


def click(region: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Click where a region is thickest."""
    depth = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 3)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return np.array([[[x, y]]], np.float32), np.array([[label]], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="+", metavar="NAME=IMAGE,LABELS")
    parser.add_argument("--model", action="append")
    parser.add_argument("--out", type=Path, help="page with a place for the table")
    given = parser.parse_args()
    lines = [
        "| model | data | objects | box | click in error | in middle | lose over 5 |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model in given.model or ["qmedsam_lite", "lite_medsam"]:
        backend = load_backend(model)
        for name, volume, labels in of_files(given.volumes):
            found = np.array(list(scores(backend, volume, labels.array)))
            means = " | ".join(f"{value:.1f}" for value in found.mean(0))
            worse = 100 * (found[:, 1] < found[:, 0] - 5).mean()
            lines.append(
                f"| `{model}` | {name} | {len(found)} | {means} | {worse:.0f} % |"
            )
    table = "\n".join(lines)
    print(table)
    if given.out is not None:
        put_between(given.out, "clicks", table)


if __name__ == "__main__":
    main()
