"""Undo and redo of changes to labels and objects, stored as differences."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

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


Step = tuple[SliceChange | ObjectChange, ...]
"""Everything one action changed, in order."""

Slice = tuple[int, int]
"""Array axis that a slice lies across, and its index."""


class History:
    """Steps back and forward over labels and objects.

    Parameters
    ----------
    limit : int
        Steps kept; the oldest goes first. 0 keeps none.
    """

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self._done: list[Step] = []
        self._undone: list[Step] = []
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

    @property
    def last_of_objects(self) -> Step | None:
        """The last step, if it changed objects and no label."""
        last = self.last
        if last and all(isinstance(change, ObjectChange) for change in last):
            return last
        return None

    def record(
        self,
        labels: NDArray,
        before: Mapping[Slice, NDArray],
        join: Step | None = None,
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
        join : Step, optional
            The step that it is to be part of, if that is still there. Nothing
            but objects may have changed since.
        after : mapping of (axis, slice index) to 2D array, optional
            The slices of `before` after it, if the labels do not hold them yet.
        """
        step = []
        for (axis, slice_index), old in before.items():
            if after is None:
                now = stacked_along(labels, axis)[slice_index].ravel()
            else:
                now = after[axis, slice_index].ravel()
            positions = np.flatnonzero(now != old.ravel()).astype(np.int32)
            if positions.size:
                step.append(
                    SliceChange(
                        slice_index,
                        positions,
                        old.ravel()[positions],
                        now[positions],
                        axis,
                    )
                )
        self._add(tuple(step), join)

    def record_objects(
        self,
        before: Mapping[int, SegmentObject],
        after: Mapping[int, SegmentObject],
        join: Step | None = None,
    ) -> None:
        """Remember one action on objects, given all of them before and after."""
        for object_id, old in before.items():
            if object_id not in after:
                self._gone[object_id] = old
        for object_id in after:
            self._gone.pop(object_id, None)
        step = tuple(
            ObjectChange(object_id, before.get(object_id), after.get(object_id))
            for object_id in dict.fromkeys([*before, *after])
            if before.get(object_id) != after.get(object_id)
        )
        self._add(step, join)

    def undo(
        self, labels: NDArray, objects: dict[int, SegmentObject] | None = None
    ) -> tuple[int, ...]:
        """Take the last step back; return the slices it touched.

        Those of slices across the first axis; any other axis touches all.
        """
        if not self._done:
            return ()
        step = self._done.pop()
        self._undone.append(step)
        return self._apply(labels, objects, step, forward=False)

    def redo(
        self, labels: NDArray, objects: dict[int, SegmentObject] | None = None
    ) -> tuple[int, ...]:
        """Make the last undone step again; return the slices it touched."""
        if not self._undone:
            return ()
        step = self._undone.pop()
        self._done.append(step)
        return self._apply(labels, objects, step, forward=True)

    def clear(self) -> None:
        """Forget every step."""
        self._done.clear()
        self._undone.clear()
        self._gone.clear()

    def _add(self, step: Step, join: Step | None) -> None:
        if not step:
            return
        self._undone.clear()
        for index in reversed(range(len(self._done))):
            if self._done[index] is join:
                self._done[index] = join + step
                return
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
        for change in step if forward else reversed(step):
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
            value,
            name=last.name,
            is_visible=last.is_visible,
            is_locked=last.is_locked,
        )
        # Their order decides who wins, so it comes back as well.
        ordered = sorted(objects.items())
        objects.clear()
        objects.update(ordered)


def touched_objects(step: Step) -> set[int]:
    """Return the ids of the objects whose prompt or voxels a step changes."""
    found: set[int] = set()
    for change in step:
        if isinstance(change, ObjectChange):
            found.add(change.object_id)
        else:
            values = np.concatenate([change.before, change.after])
            found.update(int(v) for v in np.unique(values))
    return found - {0}
