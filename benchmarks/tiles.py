"""Test whether small structures gain from a tile of the slice.

python benchmarks/tiles.py --models demo,lite_medsam [FILE.npz ...] > FILE

A model sees 256 pixels a side, so half of what a slice of 512 has. Here slices of 512
are cut into nine tiles of half their side, each half over the next, and a box is
prompted in the tile whose middle lies nearest, where it fits with a margin. Boxes
share tiles, so that each is encoded once: *encodings* is how many a slice needs then,
instead of one. Boxes are tight, or moved by up to --jitter pixels a side; DSC by
the box's longer side in pixels. Phantoms are abdomens of 512 pixels of 0.68 mm; files
are labelled cases of 512 pixels.
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_qmedsam.overlap import dice
from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes import Modality, read_labels, read_volume

SIDE = 512
BINS = (0, 16, 32, 64, 128)
LEAST = 20
"""Pixels of an object on a slice, below which it is not scored."""

FIRST_SEED = 920
SLICES = 8


@dataclass(frozen=True)
class Scored:
    """One object on one slice."""

    side: int
    whole: float
    tile: float | None


def cases(files, seeds):
    shape, spacing = (SLICES, SIDE, SIDE), (25.0, 0.68, 0.68)
    for modality in (Modality.CT, Modality.MR):
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            case = abdomen_case(modality, seed, shape, spacing)
            yield f"{modality.value} phantoms", case.volume, case.labels.array
    for file in files:
        volume = read_volume(file)
        yield "files", volume, read_labels(file, like=volume).array


def score(segmenter, volume, labels, jitter, rng):
    """Return what each object on each slice scores, and encodings a slice."""
    scored, encodings, backend = [], [], segmenter.backend
    config = backend.config
    for z in range(len(labels)):
        masks = [labels[z] == i for i in np.unique(labels[z]) if i]
        masks = [mask for mask in masks if mask.sum() >= LEAST]
        if not masks:
            continue
        boxes = [_moved(Box2D.around(mask), jitter, rng) for mask in masks]
        wholes = segmenter.segment_slice(volume, z, boxes)
        backend.config = replace(config, tiled_share=1)
        tiled = segmenter.segment_slice(volume, z, boxes)
        tiles = [segmenter.view(volume, box).tile for box in boxes]
        backend.config = config
        encodings.append(len(set(tiles)))
        for i, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
            found = dice(tiled[i], mask) if tiles[i] else None
            side = max(box.y_max - box.y_min, box.x_max - box.x_min)
            scored.append(Scored(side, dice(wholes[i], mask), found))
    return scored, encodings


def _moved(box, jitter, rng):
    if not jitter:
        return box
    low, high = rng.integers(-jitter, jitter + 1, (2, 2))
    x_min, y_min = np.maximum((box.x_min + low[0], box.y_min + low[1]), 0)
    x_max, y_max = np.minimum((box.x_max + high[0], box.y_max + high[1]), SIDE)
    x_max, y_max = max(x_max, x_min + 2), max(y_max, y_min + 2)
    return Box2D(int(x_min), int(y_min), int(x_max), int(y_max))


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--models", default="demo")
    parser.add_argument("--jitter", type=int, default=0, help="pixels a side")
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    print("| model | slices | box, pixels | objects | whole slice | tile | encodings |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for model in asked.models.split(","):
        backend = load_backend(model)
        backend.config = replace(backend.config, tiled_share=0)
        segmenter = SliceSegmenter(backend)
        rng = np.random.default_rng(0)
        found, encoded = defaultdict(list), defaultdict(list)
        for name, volume, labels in cases(asked.files, asked.seeds):
            scored, encodings = score(segmenter, volume, labels, asked.jitter, rng)
            found[name] += scored
            encoded[name] += encodings
        for name, scored in found.items():
            for low, high in zip(BINS, (*BINS[1:], SIDE), strict=True):
                chosen = [s for s in scored if low < s.side <= high]
                chosen = [s for s in chosen if s.tile is not None]
                if chosen:
                    whole = 100 * np.mean([s.whole for s in chosen])
                    tile = 100 * np.mean([s.tile for s in chosen])
                    print(
                        f"| {model} | {name} | {low + 1} to {high} | {len(chosen)} "
                        f"| {whole:.1f} | {tile:.1f} | {np.mean(encoded[name]):.1f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
