"""Masks into a session's labels, as steps that can be taken back."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.segmentation.following import Direction, EarlyStop, follow
from napari_qmedsam.segmentation.history import Slice, Step
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.painting import paint
from napari_qmedsam.segmentation.propagation import SliceUpdate, segment_volume
from napari_qmedsam.volumes.reslicing import stacked_along

if TYPE_CHECKING:
    from napari_qmedsam.segmentation.session import Session


def paint_updates(
    session: "Session",
    updates: Generator[SliceUpdate, None, None],
    object_ids: Sequence[int],
    protect_existing: bool = False,
    join: Step | None = None,
) -> Generator[SliceUpdate, None, None]:
    """Paint each update and pass it on; all of them are one step of undo.

    Parameters
    ----------
    session : Session
    updates : generator of SliceUpdate
        Closed at the end.
    object_ids : sequence of int
        The ids behind the indices of the masks.
    protect_existing : bool
        Keep the labels of other objects; those of locked ones stay anyway.
    join : Step, optional
        The step that it is to be part of.
    """
    labels = session.labels
    before: dict[Slice, NDArray] = {}
    painted: dict[Slice, set[int]] = {}
    try:
        with closing(updates):
            for update in updates:
                place = update.axis, update.slice_index
                plane = stacked_along(labels, update.axis)[update.slice_index]
                if place not in before:
                    before[place], painted[place] = plane.copy(), set()
                paint(
                    plane,
                    update.masks,
                    object_ids,
                    protect_existing,
                    painted[place],
                    [i for i, o in list(session.objects.items()) if o.is_locked],
                )
                painted[place].update(index for index, _ in update.masks)
                yield update
    finally:
        # Another array that was put in its place has its own history.
        if np.may_share_memory(labels, session.labels):
            session.history.record(labels, before, join)


def carry_on(
    session: "Session",
    prompts: Sequence[ObjectPrompt],
    slice_index: int,
    direction: Direction,
    protect_existing: bool = False,
    stop: EarlyStop | None = None,
) -> Generator[SliceUpdate, None, None]:
    """Follow the masks of a slice; segment first what has none there.

    Parameters
    ----------
    session : Session
    prompts : sequence of ObjectPrompt
        Of this slice alone, along one axis.
    slice_index : int
    direction : Direction
    protect_existing : bool
    stop : EarlyStop, optional
    """
    before = session.history.last
    plane = stacked_along(session.labels, prompts[0].axis)[slice_index]
    new = [p for p in prompts if not (plane == p.object_id).any()]
    if new:
        updates = segment_volume(session.model(), session.volume, new, session.window)
        ids = [p.object_id for p in new]
        yield from paint_updates(session, updates, ids, protect_existing)
    ids = [p.object_id for p in prompts if p.object_id in session.objects]
    if not ids:
        return
    updates = follow(
        session.model(),
        session.volume,
        [session.objects[i].prompt for i in ids],
        [plane == i for i in ids],
        slice_index,
        direction,
        session.window,
        stop,
    )
    reached: dict[int, int] = {}
    painting = paint_updates(
        session, updates, ids, protect_existing, _newer(session, before)
    )
    try:
        with closing(painting):
            for update in painting:
                for index, mask in update.masks:
                    if mask.any():
                        reached[ids[index]] = update.slice_index
                yield update
    finally:
        _extend_ranges(session, reached, _newer(session, before))


def _newer(session: "Session", step: Step | None) -> Step | None:
    """Return the last step, if it is another one than this."""
    last = session.history.last
    return None if last is step else last


def _extend_ranges(
    session: "Session", reached: dict[int, int], join: Step | None
) -> None:
    """Let the slices of objects include those that they were followed to."""
    before = dict(session.objects)
    for object_id, slice_index in reached.items():
        old = session.objects.get(object_id)
        if old is not None:
            session.objects[object_id] = old.reaching(slice_index)
    session.history.record_objects(before, session.objects, join)
