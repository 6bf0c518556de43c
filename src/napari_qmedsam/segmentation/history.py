"""Undo and redo of changes to labels and objects, stored as differences."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.volumes.reslicing import stacked_along


@dataclass(frozen=True)
class SliceChange:
    """The voxels of one slice that changed: flat positions, before and after."""

    slice_index: int
    positions: NDArray[np.int32]
    before: NDArray
    after: NDArray
    axis: int = 0


@dataclass(frozen=True)
class ObjectChange:
    """One object before and after; None where there was or is none."""

    object_id: int
    before: SegmentObject | None
    after: SegmentObject | None


@dataclass(eq=False)
class Step:
    """Everything one action changed, in order; taken back as one."""

    changes: list[SliceChange | ObjectChange] = field(default_factory=list)

    @property
    def is_of_objects(self) -> bool:
        """Whether it changed objects and no label."""
        return all(isinstance(change, ObjectChange) for change in self.changes)

    @property
    def object_ids(self) -> set[int]:
        """Ids of the objects whose prompt or voxels it changes."""
        found: set[int] = set()
        for change in self.changes:
            if isinstance(change, ObjectChange):
                found.add(change.object_id)
            else:
                values = np.concatenate([change.before, change.after])
                found.update(int(v) for v in np.unique(values))
        return found - {0}

    @property
    def made_locked(self) -> set[int]:
        """Ids of objects that it made and that were locked from the start."""
        return {
            change.object_id
            for change in self.changes
            if isinstance(change, ObjectChange)
            and change.before is None
            and change.after is not None
            and change.after.is_locked
        }


Slice = tuple[int, int]
"""Array axis that a slice lies across, and its index."""


class History:
    """Steps back and forward over labels and objects.

    What is recorded is a step of its own, unless it is recorded in a block::

        with history.step():
            session.change_object(1, box=box)
            session.segment([1])

    Several threads may record.

    Parameters
    ----------
    limit : int
        Steps kept; the oldest goes first. 0 keeps none.
    """

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self.lock = threading.RLock()
        """Held while labels, objects or steps change; never while a model works."""
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self._open = threading.local()
        """The step of the block that a thread is in."""
        self._gone: dict[int, SegmentObject] = {}
        """Objects as they were last, for the names of those that a step brings back."""

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to make again."""
        return bool(self._undone)

    def __len__(self) -> int:
        """Count the steps that can be taken back."""
        return len(self._done)

    @property
    def last(self) -> Step | None:
        """The step that would be taken back next."""
        return self._done[-1] if self._done else None

    @property
    def next(self) -> Step | None:
        """The step that would be made again next."""
        return self._undone[-1] if self._undone else None

    @contextmanager
    def step(self, resumed: Step | None = None) -> Iterator[None]:
        """Make all that this thread records in the block one step of undo.

        A block inside of another is part of that one. What other threads record
        meanwhile are steps of their own.

        Parameters
        ----------
        resumed : Step, optional
            An earlier step that the block goes on with, if that is still there.
            Nothing but objects may have changed since.
        """
        if getattr(self._open, "step", None) is not None:
            yield
            return
        is_there = resumed is not None and resumed in self._done
        self._open.step = resumed if is_there else Step()
        try:
            yield
        finally:
            self._open.step = None

    def record(
        self,
        labels: NDArray,
        before: Mapping[Slice, NDArray],
        after: Mapping[Slice, NDArray] | None = None,
    ) -> None:
        """Remember one action on labels, given the slices as they were before it.

        Parameters
        ----------
        labels : ndarray, (Z, Y, X)
            As they are now.
        before : mapping of (axis, slice index) to 2D array
            Slices that turn out unchanged are left out; an action that changed
            nothing is no step.
        after : mapping of (axis, slice index) to 2D array, optional
            The slices of `before` after it, if the labels do not hold them yet.
        """
        with self.lock:
            changes = []
            for (axis, slice_index), old in before.items():
                if after is None:
                    now = stacked_along(labels, axis)[slice_index].ravel()
                else:
                    now = after[axis, slice_index].ravel()
                positions = np.flatnonzero(now != old.ravel()).astype(np.int32)
                if positions.size:
                    changes.append(
                        SliceChange(
                            slice_index,
                            positions,
                            old.ravel()[positions],
                            now[positions],
                            axis,
                        )
                    )
            self._add(changes)

    def record_objects(
        self, before: Mapping[int, SegmentObject], after: Mapping[int, SegmentObject]
    ) -> None:
        """Remember one action on objects, given them before and after it.

        Those that it did not touch may be left out of both.
        """
        with self.lock:
            for object_id, old in before.items():
                if object_id not in after:
                    self._gone[object_id] = old
            for object_id in after:
                self._gone.pop(object_id, None)
            self._add(
                [
                    ObjectChange(object_id, before.get(object_id), after.get(object_id))
                    for object_id in dict.fromkeys([*before, *after])
                    if before.get(object_id) != after.get(object_id)
                ]
            )

    def undo(
        self, labels: NDArray, objects: dict[int, SegmentObject] | None = None
    ) -> tuple[int, ...]:
        """Take the last step back; return the slices it touched.

        Those of slices across the first axis; any other axis touches all.
        """
        with self.lock:
            if not self._done:
                return ()
            step = self._done.pop()
            self._undone.append(step)
            return self._apply(labels, objects, step, forward=False)

    def redo(
        self, labels: NDArray, objects: dict[int, SegmentObject] | None = None
    ) -> tuple[int, ...]:
        """Make the last undone step again; return the slices it touched."""
        with self.lock:
            if not self._undone:
                return ()
            step = self._undone.pop()
            self._done.append(step)
            return self._apply(labels, objects, step, forward=True)

    def clear(self) -> None:
        """Forget every step."""
        with self.lock:
            self._done.clear()
            self._undone.clear()
            self._gone.clear()

    def _add(self, changes: Sequence[SliceChange | ObjectChange]) -> None:
        if not changes:
            return
        self._undone.clear()
        step = getattr(self._open, "step", None) or Step()
        step.changes.extend(changes)
        if step not in self._done:
            self._done.append(step)
            del self._done[: max(0, len(self._done) - self.limit)]

    def _apply(
        self,
        labels: NDArray,
        objects: dict[int, SegmentObject] | None,
        step: Step,
        forward: bool,
    ) -> tuple[int, ...]:
        touched: set[int] = set()
        for change in step.changes if forward else reversed(step.changes):
            if isinstance(change, ObjectChange):
                if objects is not None:
                    now = change.after if forward else change.before
                    self._put(objects, change.object_id, now)
                continue
            values = change.after if forward else change.before
            plane = stacked_along(labels, change.axis)[change.slice_index]
            plane[np.unravel_index(change.positions, plane.shape)] = values
            indices = [change.slice_index] if change.axis == 0 else range(len(labels))
            touched.update(indices)
        return tuple(sorted(touched))

    def _put(
        self,
        objects: dict[int, SegmentObject],
        object_id: int,
        value: SegmentObject | None,
    ) -> None:
        """Give an object its prompt of then; name, visibility and lock stay."""
        if value is None:
            if object_id in objects:
                self._gone[object_id] = objects.pop(object_id)
            return
        last = objects.get(object_id) or self._gone.get(object_id) or value
        objects[object_id] = replace(
            value, name=last.name, is_visible=last.is_visible, is_locked=last.is_locked
        )
        # Their order decides who wins, so it comes back as well.
        ordered = sorted(objects.items())
        objects.clear()
        objects.update(ordered)
