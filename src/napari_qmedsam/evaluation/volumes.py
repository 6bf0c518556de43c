"""Score a model on a labelled volume, boxes taken from the labels."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
    run = _Evaluation(
        segmenter,
        volume,
        labels,
        _classes(labels, classes),
        volume.window_or_default(window),
        tolerance_mm,
        box_jitter,
        np.random.default_rng(seed),
        progress or (lambda done, total: None),
    )
    by_slice = mode is Mode.SLICE
    scores = tuple(run.slices() if by_slice else run.objects(propagation))
    if not scores:
        what = "slice" if by_slice else "object"
        raise InvalidSettings(
            f"None of the classes {run.classes} has a {what} of at least "
            f"{MINIMUM_VOXELS} voxels."
        )
    info = segmenter.backend.info
    return EvaluationReport(
        scores, run.seconds, run.encoded, info.model, info.backend, info.precision
    )


@dataclass
class _Evaluation:
    """One run, with the time spent on segmenting, without that of scoring."""

    segmenter: SliceSegmenter
    volume: Volume
    labels: NDArray[np.integer]
    classes: list[int]
    window: Window
    tolerance_mm: float
    jitter: int
    rng: np.random.Generator
    progress: Callable[[int, int], None]
    seconds: float = 0.0
    encoded: int = 0

    def slices(self) -> Iterator[Score]:
        """Score every slice of every class by its own 2D box."""
        for slice_index, plane in enumerate(self.labels):
            here = self._large_enough(plane)
            if here:
                boxes = [self._box(plane == c) for c in here]
                start = time.perf_counter()
                masks = self.segmenter.segment_slice(
                    self.volume, slice_index, boxes, self.window
                )
                self.seconds += time.perf_counter() - start
                self.encoded += 1
                for class_id, mask in zip(here, masks, strict=True):
                    yield self._score(class_id, slice_index, mask, plane == class_id)
            self.progress(slice_index + 1, len(self.labels))

    def objects(self, propagation: Propagation) -> Iterator[Score]:
        """Score every class by one 3D box."""
        kept = self._large_enough(self.labels)
        prompts = [ObjectPrompt(c, self._box3d(self.labels == c)) for c in kept]
        found = {c: np.zeros(self.volume.shape, bool) for c in kept}
        updates = segment_volume(
            self.segmenter,
            self.volume,
            prompts,
            self.window,
            propagation,
            OnEmpty.BOX,
        )
        start = time.perf_counter()
        for update in updates:
            self.seconds += time.perf_counter() - start
            self.encoded += 1
            for index, mask in update.masks:
                found[kept[index]][update.slice_index] = mask
            self.progress(update.done, update.total)
            start = time.perf_counter()
        for class_id, body in found.items():
            yield self._score(class_id, None, body, self.labels == class_id)

    def _large_enough(self, labels: NDArray[np.integer]) -> list[int]:
        counts = np.bincount(labels.ravel(), minlength=max(self.classes) + 1)
        return [c for c in self.classes if counts[c] >= MINIMUM_VOXELS]

    def _box(self, mask: NDArray[np.bool_]) -> Box2D:
        _, height, width = self.volume.shape
        return Box2D.enclosing(mask).jitter(self.jitter, height, width, self.rng)

    def _box3d(self, body: NDArray[np.bool_]) -> Box3D:
        filled = np.flatnonzero(body.any(axis=(1, 2)))
        flat = self._box(np.any(body, axis=0))
        z_min, z_max = int(filled[0]), int(filled[-1]) + 1
        return Box3D(flat.x_min, flat.y_min, z_min, flat.x_max, flat.y_max, z_max)

    def _score(
        self,
        class_id: int,
        slice_index: int | None,
        mask: NDArray[np.bool_],
        truth: NDArray[np.bool_],
    ) -> Score:
        spacing = self.volume.spacing_mm[-truth.ndim :]
        nsd = normalized_surface_distance(mask, truth, spacing, self.tolerance_mm)
        return Score(class_id, slice_index, dice(mask, truth), nsd)


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
