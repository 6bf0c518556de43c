"""What models give for objects, painted slice by slice; a run is a step of undo."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from napari_qmedsam.segmentation.annotation import Annotation
from napari_qmedsam.segmentation.early_stop import EarlyStop
from napari_qmedsam.segmentation.history import Step
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.painting import Painter
from napari_qmedsam.segmentation.propagation import (
    Direction,
    SliceUpdate,
    count_beyond,
    propagate_masks,
    segment_volume,
)
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.reslicing import stacked_along
from napari_qmedsam.volumes.windows import Window


def paint_updates(
    annotation: Annotation,
    updates: Generator[SliceUpdate, None, None],
    object_ids: Sequence[int],
    protect_existing: bool = False,
    step: Step | None = None,
) -> Generator[SliceUpdate, None, None]:
    """Paint each update and pass it on; all of them are one step of undo.

    Parameters
    ----------
    annotation : Annotation
    updates : generator of SliceUpdate
        Closed at the end.
    object_ids : sequence of int
        The ids behind the indices of the masks.
    protect_existing : bool
        Keep the labels of other objects; those of locked ones stay anyway.
    step : Step, optional
        An earlier step that it is to be part of.
    """
    with annotation.painting():
        painter = Painter(annotation.labels, protect_existing)
        try:
            yield from _paint_each(annotation, updates, object_ids, painter)
        finally:
            with annotation.history.lock, annotation.history.step(step):
                _record(annotation, painter)


def propagate_objects(
    annotation: Annotation,
    segmenter: SliceSegmenter,
    prompts: Sequence[ObjectPrompt],
    slice_index: int,
    direction: Direction,
    window: Window,
    protect_existing: bool = False,
    stop: EarlyStop | None = None,
    tighten: bool = False,
) -> Generator[SliceUpdate, None, None]:
    """Segment what has no mask on a slice, then propagate all masks on it.

    The slices of objects are extended to those that they were found on. All of it
    is one step of undo. Progress counts the slices beyond this one.

    Parameters
    ----------
    annotation : Annotation
    segmenter : SliceSegmenter
    prompts : sequence of ObjectPrompt
        Of this slice alone, along one axis.
    slice_index : int
    direction : Direction
    window : Window
    protect_existing : bool
        Keep the labels of other objects; those of locked ones stay anyway.
    stop : EarlyStop, optional
    tighten : bool
        As for :func:`~napari_qmedsam.segmentation.propagation.segment_volume`.
    """
    with annotation.painting():
        painter = Painter(annotation.labels, protect_existing)
        volume, objects = annotation.volume, annotation.objects
        plane = stacked_along(annotation.labels, prompts[0].axis)[slice_index]
        new = [p for p in prompts if not (plane == p.object_id).any()]
        reached: dict[int, set[int]] = {}
        try:
            first = segment_volume(segmenter, volume, new, window, tighten=tighten)
            new_ids = [p.object_id for p in new]
            depth = volume.shape[prompts[0].axis]
            total = count_beyond(prompts, slice_index, direction, depth)
            with closing(_paint_each(annotation, first, new_ids, painter)) as painted:
                for update in painted:
                    yield replace(update, done=0, total=total)
            # Objects may have been removed meanwhile.
            ids = [p.object_id for p in prompts if p.object_id in objects]
            if not ids:
                return
            beyond = propagate_masks(
                segmenter,
                volume,
                [objects[i].prompt for i in ids],
                [plane == i for i in ids],
                slice_index,
                direction,
                window,
                stop,
            )
            with closing(_paint_each(annotation, beyond, ids, painter)) as painted:
                for update in painted:
                    for index, mask in update.masks:
                        if mask.any():
                            reached.setdefault(ids[index], set()).add(
                                update.slice_index
                            )
                    yield update
        finally:
            with annotation.history.lock, annotation.history.step():
                _record(annotation, painter)
                _extend_ranges(annotation, reached)


def _paint_each(
    annotation: Annotation,
    updates: Generator[SliceUpdate, None, None],
    object_ids: Sequence[int],
    painter: Painter,
) -> Generator[SliceUpdate, None, None]:
    with closing(updates):
        for update in updates:
            with annotation.history.lock:
                objects = annotation.objects.values()
                locked = [o.object_id for o in objects if o.is_locked]
                painter.paint(update, object_ids, locked)
            yield update


def _record(annotation: Annotation, painter: Painter) -> None:
    # Another array that was put in its place has its own history.
    if np.may_share_memory(painter.labels, annotation.labels):
        annotation.history.record(painter.labels, painter.before)


def _extend_ranges(annotation: Annotation, reached: Mapping[int, set[int]]) -> None:
    """Let the slices of objects include those that they were found on."""
    before = dict(annotation.objects)
    for object_id, slices in reached.items():
        old = annotation.objects.get(object_id)
        if old is not None:
            extended = old.reaching(min(slices)).reaching(max(slices))
            annotation.objects[object_id] = extended
    annotation.history.record_objects(before, annotation.objects)
