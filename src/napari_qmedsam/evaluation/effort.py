"""What a person pays for a whole object: scores by the number of boxes drawn.

Each object is prompted and scored by itself, as if no other were there.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.effort_report import (
    ENOUGH,
    Effort,
    EffortReport,
    EffortRow,
)
from napari_qmedsam.evaluation.prompted_slices import large_enough
from napari_qmedsam.evaluation.rules import MINIMUM_VOXELS, TOLERANCE_MM
from napari_qmedsam.evaluation.simulated_user import DrawnObject
from napari_qmedsam.evaluation.volumes import chosen_classes
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.labels import labels_on_grid
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

BOX_COUNTS = (1, 2, 3, 5)
"""Boxes for an object, spread over its slices."""

MOST_BOXES = 10
"""The simulated user gives an object up after so many."""

Measured = TypeVar("Measured")


def measure_effort(
    segmenter: SliceSegmenter,
    volume: Volume,
    labels: Volume | NDArray[np.integer],
    *,
    classes: Sequence[int] | None = None,
    box_counts: Sequence[int] = BOX_COUNTS,
    most_boxes: int = MOST_BOXES,
    box_jitter: int = 0,
    tolerance_mm: float = TOLERANCE_MM,
    window: Window | None = None,
    seed: int = 0,
    run_time: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> EffortReport:
    """Measure what boxes buy, on every labelled object of a volume.

    Parameters
    ----------
    segmenter : SliceSegmenter
        Its store of embeddings is not used.
    volume : Volume
    labels : Volume, or ndarray, (Z, Y, X) integer
        The reference; brought to the volume's grid.
    classes : sequence of int, optional
        Default: every value but 0.
    box_counts : sequence of int
    most_boxes : int
        The simulated user gives up after so many.
    box_jitter : int
        Each side of a box moves by up to this many pixels.
    tolerance_mm : float
        Of the NSD.
    window : Window, optional
        Default: the volume's own.
    seed : int
        Of the jitter.
    run_time : bool
        Give each way of prompting a store of embeddings of its own, so that all of
        them wait for the encoder alike. Otherwise they share one: the seconds mean
        nothing, and it takes a fraction of the time.
    progress : callable, optional
        Called with objects done and in all, counted for each way of prompting.

    Raises
    ------
    GridMismatch
        If the labels cannot be brought to the volume's grid.
    InvalidSettings
        If no class has 100 voxels, or a number of boxes is below 1.
    """
    if not box_counts or min(*box_counts, most_boxes) < 1:
        raise InvalidSettings(
            f"There must be 1 box or more, not {list(box_counts)} (at most "
            f"{most_boxes})."
        )
    reference = labels_on_grid(labels, volume).array
    chosen = chosen_classes(reference, classes)
    class_ids = large_enough(reference, chosen)
    if not class_ids:
        raise InvalidSettings(
            f"None of the classes {chosen} has at least {MINIMUM_VOXELS} voxels."
        )
    chosen_window = volume.window_or_default(window)
    counts = sorted(set(box_counts))
    shared = None if run_time else EmbeddingStore()
    done = 0

    def of_each(
        measure: Callable[[DrawnObject, SliceSegmenter, int], Measured],
    ) -> list[Measured]:
        nonlocal done
        fresh = SliceSegmenter(segmenter.backend, shared, segmenter.max_boxes)
        measured = []
        for place, class_id in enumerate(class_ids):
            truth = reference == class_id
            drawn = DrawnObject(
                volume, chosen_window, truth, tolerance_mm, box_jitter, seed
            )
            measured.append(measure(drawn, fresh, place))
            done += 1
            if progress is not None:
                progress(done, len(class_ids) * (len(counts) + 2))
        return measured

    rows = []
    for count in counts:
        efforts = of_each(_spread(count))
        rows.append(EffortRow("1 box" if count == 1 else f"{count} boxes", efforts))
    every = of_each(_spread(None))
    rows.append(EffortRow("a box on every slice", every))
    enough = [ENOUGH * effort.scores.dsc for effort in every]
    redrawn = of_each(
        lambda item, model, place: item.redrawing_efforts(
            model, enough[place], max(counts), most_boxes
        )
    )
    for count in counts:
        if count > 1:
            efforts = [steps[min(count, len(steps)) - 1] for steps in redrawn]
            rows.append(EffortRow(f"1 box, worst slice redrawn up to {count}", efforts))
    needed = [
        next((e.boxes for e in steps if e.scores.dsc >= wanted), None)
        for steps, wanted in zip(redrawn, enough, strict=True)
    ]
    info = segmenter.backend.info
    return EffortReport(
        class_ids=tuple(class_ids),
        rows=tuple(rows),
        boxes_needed=tuple(needed),
        most_boxes=most_boxes,
        tolerance_mm=tolerance_mm,
        model=info.model,
        backend=info.backend,
        precision=info.precision,
    )


def _spread(count: int | None) -> Callable[[DrawnObject, SliceSegmenter, int], Effort]:
    return lambda item, segmenter, _: item.spread_effort(segmenter, count)
