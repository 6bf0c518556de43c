"""Fit when an object that is propagated counts as ended, by what slices show of it.

    python benchmarks/early_stop.py [NAME=IMAGE,LABELS ...] [--model demo --model FILE]
        [--seeds 2]

One box on the middle slice of each object is propagated both ways, and on, whatever is
found. Each slice gives the signs of `segmentation.early_stop` and whether the object is
there: all slices up to the object's end, and three beyond. Phantoms are abdomens in CT
and MR, of seeds that no training takes; of a volume given every second class is used.
Printed are the weights of a logistic regression for each model, and how well weights
fitted without a case order that case's slices (area under the ROC curve).
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from effort import of_files, of_phantoms
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from napari_qmedsam.evaluation.prompted_slices import large_enough
from napari_qmedsam.evaluation.simulated_user import DrawnObject
from napari_qmedsam.overlap import dice
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.segmentation.early_stop import EarlyStop, Signs
from napari_qmedsam.segmentation.endings import EndReason
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.propagation import Direction, propagate_masks
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes import Volume

BEYOND = 3
"""Slices past an object's end that count: further on a mask is anything."""

LEAST_DSC = 0.3
"""Masks that have slipped before the end say nothing of it."""

NAMES = ("support", "log area", "edge", "grey shift", "constant")


@dataclass(frozen=True)
class Recorder(EarlyStop):
    """Goes on while there is a mask, and keeps the signs of each slice."""

    seen: list[Signs] = field(default_factory=list)

    def why_ended(
        self, mask: NDArray[np.bool_], expected: NDArray[np.bool_], signs: Signs
    ) -> EndReason | None:
        """Return an end only where nothing is left to propagate."""
        if not (mask & expected).any():
            return EndReason.OBJECT_END
        self.seen.append(signs)
        return None


def walked(
    segmenter: SliceSegmenter, volume: Volume, truth: NDArray[np.bool_]
) -> Iterator[tuple[tuple[float, ...], bool]]:
    """Yield signs of the slices of one object, and whether it is there."""
    window = volume.window_or_default(None)
    (key,) = DrawnObject(volume, window, truth).boxes(1).keys
    start = key.slice_index
    prompt = ObjectPrompt(1, Box3D.on_slice(start, key.box))
    (mask,) = segmenter.segment_slice(volume, start, [key.box])
    for way in (Direction.UP, Direction.DOWN):
        stop = Recorder()
        beyond = 0
        for update in propagate_masks(
            segmenter, volume, [prompt], [mask], start, way, window, stop
        ):
            if not update.found:
                break
            there = truth[update.slice_index]
            beyond += not there.any()
            ((_, found),) = update.masks
            if beyond > BEYOND or (there.any() and beyond):
                break
            if beyond or dice(found, there) > LEAST_DSC:
                yield stop.seen[-1].terms, bool(there.any())


def fitted(
    by_case: dict[str, NDArray], there: dict[str, NDArray], left_out: str | None = None
) -> NDArray[np.floating]:
    """Return the weights of a logistic regression with a slight pull to 0."""
    used = [name for name in by_case if name != left_out]
    rows = np.concatenate([by_case[name] for name in used])
    is_there = np.concatenate([there[name] for name in used])
    spread = np.append(rows[:, :-1].std(axis=0), 1.0)

    def loss(weights: NDArray[np.floating]) -> float:
        odds = rows @ (weights / spread)
        wrong = np.logaddexp(0, np.where(is_there, -odds, odds)).mean()
        return float(wrong + 0.01 * (weights[:-1] ** 2).sum())

    return np.asarray(minimize(loss, np.zeros(rows.shape[1])).x / spread)


def area_under_curve(odds: NDArray[np.floating], is_there: NDArray[np.bool_]) -> float:
    ranks = rankdata(odds)[is_there].sum()
    there = np.count_nonzero(is_there)
    ranks -= there * (there + 1) / 2
    return float(ranks / (there * (len(odds) - there)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="*", metavar="NAME=IMAGE,LABELS")
    parser.add_argument("--model", action="append")
    parser.add_argument("--seeds", type=int, default=1, help="phantoms a modality")
    arguments = parser.parse_args()
    given = {name for name, _, _ in of_files(arguments.volumes)}
    for model in arguments.model or ["demo"]:
        segmenter = SliceSegmenter(load_backend(model))
        rows: dict[str, NDArray] = {}
        there: dict[str, NDArray[np.bool_]] = {}
        cases = [*of_phantoms(arguments.seeds), *of_files(arguments.volumes)]
        for name, volume, labels in cases:
            values = [int(value) for value in np.unique(labels.array)[1:]]
            chosen = large_enough(labels.array, values)[:: 2 if name in given else 1]
            seen = [
                slice_seen
                for value in chosen
                for slice_seen in walked(segmenter, volume, labels.array == value)
            ]
            rows[name] = np.array([row for row, _ in seen])
            there[name] = np.array([is_there for _, is_there in seen])
        weights = fitted(rows, there)
        told = ", ".join(f"{n} {w:.2f}" for n, w in zip(NAMES, weights, strict=True))
        print(f"{model}: {told}", flush=True)
        for name in rows if len(rows) > 1 else ():
            without = fitted(rows, there, left_out=name)
            area = area_under_curve(rows[name] @ without, there[name])
            print(f"  {name}: {len(rows[name])} slices, area {area:.3f}", flush=True)


if __name__ == "__main__":
    main()
