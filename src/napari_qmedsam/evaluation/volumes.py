"""Score a model on a labelled volume, boxes taken from the labels."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.prompted_slices import large_enough, prompted_slices
from napari_qmedsam.evaluation.report import EvaluationReport, ScoredObject
from napari_qmedsam.evaluation.rules import MINIMUM_VOXELS, TOLERANCE_MM
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.segmentation.propagation import Follow, ObjectPrompt, segment_volume
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.labels import labels_on_grid
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

Witness = Callable[[ScoredObject, NDArray[np.bool_], NDArray[np.bool_]], None]
"""Told of each scored object with its mask and its reference: those of its slice,
(Y, X), or of the whole volume, (Z, Y, X)."""


class Mode(str, Enum):
    """What is prompted and scored."""

    SLICE = "slice"
    """Every slice of every class by its own 2D box."""

    VOLUME = "volume"
    """Every class by one 3D box."""


def evaluate_volume(
    segmenter: SliceSegmenter,
    volume: Volume,
    labels: Volume | NDArray[np.integer],
    *,
    classes: Sequence[int] | None = None,
    mode: Mode = Mode.SLICE,
    box_jitter: int = 0,
    tolerance_mm: float = TOLERANCE_MM,
    window: Window | None = None,
    follow: Follow = Follow.BOX,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    witness: Witness | None = None,
) -> EvaluationReport:
    """Segment every labelled object from the box of its label, and score it.

    Volumes are segmented as `Session.segment` does it, with the same defaults, so
    the scores are those of what users get.

    Parameters
    ----------
    segmenter : SliceSegmenter
    volume : Volume
    labels : Volume, or ndarray, (Z, Y, X) integer
        The reference; brought to the volume's grid by
        :func:`~napari_qmedsam.volumes.labels.labels_on_grid`.
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
    follow : Follow
        For volume mode.
    seed : int
        Of the jitter.
    progress : callable, optional
        Called with slices done and in all.
    witness : callable, optional
        Called with each scored object, its mask and its reference.

    Returns
    -------
    EvaluationReport

    Raises
    ------
    GridMismatch
        If the labels cannot be brought there.
    InvalidSettings
        If no class has a slice (or, in volume mode, a body) of 100 voxels.
    """
    reference = labels_on_grid(labels, volume).array
    run = _Evaluation(
        segmenter,
        volume,
        reference,
        chosen_classes(reference, classes),
        volume.window_or_default(window),
        tolerance_mm,
        box_jitter,
        np.random.default_rng(seed),
        progress or (lambda done, total: None),
        witness or (lambda scored, mask, truth: None),
    )
    by_slice = mode is Mode.SLICE
    objects = tuple(run.slices() if by_slice else run.volumes(follow))
    if not objects:
        what = "slice" if by_slice else "object"
        raise InvalidSettings(
            f"None of the classes {run.classes} has a {what} of at least "
            f"{MINIMUM_VOXELS} voxels."
        )
    info = segmenter.backend.info
    return EvaluationReport(
        objects, run.seconds, run.encoded, info.model, info.backend, info.precision
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
    witness: Witness
    seconds: float = 0.0
    encoded: int = 0

    def slices(self) -> Iterator[ScoredObject]:
        """Score every slice of every class by its own 2D box."""
        for item in prompted_slices(
            self.volume,
            self.labels,
            classes=self.classes,
            window=self.window,
            box_jitter=self.jitter,
            rng=self.rng,
        ):
            if item.class_ids:
                start = time.perf_counter()
                masks = self.segmenter.segment_slice(
                    self.volume, item.slice_index, item.boxes, self.window
                )
                self.seconds += time.perf_counter() - start
                self.encoded += 1
                scores = item.scores(masks, self.tolerance_mm)
                for number, (class_id, score) in enumerate(
                    zip(item.class_ids, scores, strict=True)
                ):
                    scored = ScoredObject(class_id, item.slice_index, score)
                    self.witness(scored, masks[number], item.truths[number])
                    yield scored
            self.progress(item.slice_index + 1, len(self.labels))

    def volumes(self, follow: Follow) -> Iterator[ScoredObject]:
        """Score every class by one 3D box."""
        kept = large_enough(self.labels, self.classes)
        prompts = [ObjectPrompt(c, self._box3d(self.labels == c)) for c in kept]
        found = {c: np.zeros(self.volume.shape, bool) for c in kept}
        updates = segment_volume(
            self.segmenter, self.volume, prompts, self.window, follow
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
            truth = self.labels == class_id
            spacing = self.volume.spacing_mm
            scores = Scores.of(body, truth, spacing, self.tolerance_mm)
            scored = ScoredObject(class_id, None, scores)
            self.witness(scored, body, truth)
            yield scored

    def _box3d(self, body: NDArray[np.bool_]) -> Box3D:
        _, height, width = self.volume.shape
        filled = np.flatnonzero(body.any(axis=(1, 2)))
        flat = Box2D.enclosing(np.any(body, axis=0)).jitter(
            self.jitter, height, width, self.rng
        )
        z_min, z_max = int(filled[0]), int(filled[-1]) + 1
        return Box3D(flat.x_min, flat.y_min, z_min, flat.x_max, flat.y_max, z_max)


def chosen_classes(labels: NDArray, wanted: Sequence[int] | None) -> list[int]:
    """Return the classes to score, ascending: those wanted, or all there are.

    Raises
    ------
    InvalidSettings
        If one that is wanted is absent, or there is none.
    """
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
