"""Score a model on a labelled volume, boxes taken from the labels."""

import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import GridMismatch, InvalidSettings
from napari_qmedsam.evaluation.metrics import dice, normalized_surface_distance
from napari_qmedsam.evaluation.report import EvaluationReport, Score
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.segmentation.propagation import (
    ObjectPrompt,
    OnEmpty,
    Propagation,
    segment_volume,
)
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

MINIMUM_VOXELS = 100
"""Smaller cuts of a class are not scored: on them a voxel decides the figure."""


class Mode(str, Enum):
    """What is prompted and scored."""

    SLICE = "slice"
    """Every slice of every class by its own 2D box."""

    VOLUME = "volume"
    """Every class by one 3D box."""


def evaluate_volume(
    segmenter: SliceSegmenter,
    volume: Volume,
    labels: NDArray[np.integer],
    *,
    classes: Sequence[int] | None = None,
    mode: Mode = Mode.SLICE,
    box_jitter: int = 0,
    tolerance_mm: float = 2.0,
    window: Window | None = None,
    propagation: Propagation = Propagation.BOX,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Segment every labelled object from the box of its label, and score it.

    Parameters
    ----------
    segmenter : SliceSegmenter
    volume : Volume
    labels : ndarray, (Z, Y, X) integer
        The reference, on the volume's grid.
    classes : sequence of int, optional
        Default: every value but 0.
    mode : Mode
        In slice mode the NSD is that of 2D contours, in volume mode that of
        3D surfaces.
    box_jitter : int
        Each side of a box moves by up to this many voxels in its plane.
    tolerance_mm : float
        Of the NSD.
    window : Window, optional
        Default: the volume's own.
    propagation : Propagation
        For volume mode.
    seed : int
        Of the jitter.
    progress : callable, optional
        Called with slices done and in all.

    Returns
    -------
    EvaluationReport

    Raises
    ------
    GridMismatch
        If the labels are not on the volume's grid.
    InvalidSettings
        If no class has a slice (or, in volume mode, a body) of 100 voxels.
    """
    if labels.shape != volume.shape:
        raise GridMismatch(
            f"The labels are {labels.shape} but the image is {volume.shape}."
        )
    chosen = _classes(labels, classes)
    runner = _slice_scores if mode is Mode.SLICE else _volume_scores
    clock = _Clock()
    scores = tuple(
        runner(
            segmenter,
            volume,
            labels,
            chosen,
            np.random.default_rng(seed),
            box_jitter,
            tolerance_mm,
            volume.default_window() if window is None else window,
            propagation,
            clock,
            progress or (lambda done, total: None),
        )
    )
    if not scores:
        what = "slice" if mode is Mode.SLICE else "object"
        raise InvalidSettings(
            f"None of the classes {chosen} has a {what} of at least "
            f"{MINIMUM_VOXELS} voxels."
        )
    info = segmenter.backend.info
    return EvaluationReport(
        scores, clock.seconds, clock.slices, info.model, info.backend, info.precision
    )


class _Clock:
    """Adds up the time of segmenting, without that of scoring."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slices = 0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start
        self.slices += 1


def _classes(labels: NDArray, wanted: Sequence[int] | None) -> list[int]:
    present = [int(v) for v in np.unique(labels) if v]
    if wanted is None:
        if not present:
            raise InvalidSettings("The labels are empty: every voxel is 0.")
        return present
    absent = sorted(set(wanted) - set(present))
    if absent:
        raise InvalidSettings(
            f"The labels hold no class {', '.join(map(str, absent))}; they hold "
            f"{', '.join(map(str, present))}."
        )
    return sorted(set(wanted))


def _slice_scores(
    segmenter: SliceSegmenter,
    volume: Volume,
    labels: NDArray,
    classes: list[int],
    rng: np.random.Generator,
    jitter: int,
    tolerance_mm: float,
    window: Window,
    propagation: Propagation,
    clock: _Clock,
    progress: Callable[[int, int], None],
) -> Iterator[Score]:
    depth, height, width = volume.shape
    for slice_index, plane in enumerate(labels):
        counts = np.bincount(plane.ravel(), minlength=max(classes) + 1)
        here = [c for c in classes if counts[c] >= MINIMUM_VOXELS]
        if here:
            boxes = [
                _around(plane == c).jitter(jitter, height, width, rng) for c in here
            ]
            with clock:
                masks = segmenter.segment_slice(volume, slice_index, boxes, window)
            for class_id, mask in zip(here, masks, strict=True):
                truth = plane == class_id
                nsd = normalized_surface_distance(
                    mask, truth, volume.spacing_mm[1:], tolerance_mm
                )
                yield Score(class_id, slice_index, dice(mask, truth), nsd)
        progress(slice_index + 1, depth)


def _volume_scores(
    segmenter: SliceSegmenter,
    volume: Volume,
    labels: NDArray,
    classes: list[int],
    rng: np.random.Generator,
    jitter: int,
    tolerance_mm: float,
    window: Window,
    propagation: Propagation,
    clock: _Clock,
    progress: Callable[[int, int], None],
) -> Iterator[Score]:
    counts = np.bincount(labels.ravel(), minlength=max(classes) + 1)
    kept = [c for c in classes if counts[c] >= MINIMUM_VOXELS]
    if not kept:
        return
    prompts = []
    for class_id in kept:
        body = labels == class_id
        slices = np.flatnonzero(body.any(axis=(1, 2)))
        flat = _around(body.any(axis=0)).jitter(jitter, *volume.shape[1:], rng)
        z_min, z_max = int(slices[0]), int(slices[-1]) + 1
        box = Box3D(flat.x_min, flat.y_min, z_min, flat.x_max, flat.y_max, z_max)
        prompts.append(ObjectPrompt(class_id, box))
    found = {class_id: np.zeros(volume.shape, bool) for class_id in kept}
    updates = segment_volume(
        segmenter, volume, prompts, window, propagation, OnEmpty.BOX
    )
    while True:
        with clock:
            update = next(updates, None)
        if update is None:
            clock.slices -= 1
            break
        for index, mask in update.masks:
            found[kept[index]][update.slice_index] = mask
        progress(update.done, update.total)
    for class_id, body in found.items():
        truth = labels == class_id
        nsd = normalized_surface_distance(body, truth, volume.spacing_mm, tolerance_mm)
        yield Score(class_id, None, dice(body, truth), nsd)


def _around(mask: NDArray[np.bool_]) -> Box2D:
    box = Box2D.around(mask)
    assert box is not None  # only masks with voxels come here
    return box
