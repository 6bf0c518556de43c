"""Doubts of masks, kept with the state of the labels that they are about."""

from collections.abc import Collection, Iterable
from weakref import WeakKeyDictionary

import numpy as np

from napari_qmedsam.segmentation.history import History, SliceChange, Step
from napari_qmedsam.segmentation.plausibility import Plausibility, check_object
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.reslicing import axis_order

Doubted = dict[int, Plausibility]
"""What speaks against masks, by object."""


class Doubts:
    """What speaks against the masks of a session, as its labels are now.

    Undo and redo bring back what was known of the masks that they bring back. A slice
    that somebody has painted on was looked at: what was doubted there is settled, on
    the objects that the stroke changed, and only there.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._first = Step()
        """Stands for the state before the first step."""
        self._known: WeakKeyDictionary[Step, Doubted] = WeakKeyDictionary()
        self._last: Doubted = {}

    @property
    def now(self) -> Doubted:
        """The doubts of the objects that there are."""
        with self._history.lock:
            objects = self._session.objects
            return {i: found for i, found in self._state().items() if i in objects}

    def check(self, object_ids: Iterable[int], slices: Collection[int]) -> None:
        """Look at masks that a model has just made.

        Safe in another thread, where it belongs: every slice is looked at.

        Parameters
        ----------
        object_ids : iterable of int
        slices : collection of int
            Along the objects' axis.
        """
        session = self._session
        for object_id in object_ids:
            o = session.objects.get(object_id)
            if o is None or o.is_locked or not slices:
                continue
            found = check_object(
                o, session.volume, session.labels, session.window, slices
            )
            with self._history.lock:
                state = self._state()
                before = state.get(object_id, Plausibility({}))
                state[object_id] = before.after(found, slices)

    def settle(self) -> None:
        """Take it that what the last step painted was looked at."""
        with self._history.lock:
            step, state = self._history.last, self._state()
            if step is None:
                return
            for object_id in step.object_ids:
                o = self._session.objects.get(object_id)
                if o is not None and object_id in state:
                    painted = _painted(step, o.axis, self._session.labels.shape)
                    state[object_id] = state[object_id].after(Plausibility({}), painted)

    @property
    def _history(self) -> History:
        return self._session.history

    def _state(self) -> Doubted:
        """Return what is known of the labels as they are, which may be changed."""
        step = self._history.last or self._first
        if step not in self._known:
            self._known[step] = dict(self._last)
        self._last = self._known[step]
        return self._last


def _painted(step: Step, axis: int, shape: tuple[int, ...]) -> set[int]:
    """Return the slices across an axis on which a step changed voxels."""
    painted: set[int] = set()
    for change in step.changes:
        if isinstance(change, SliceChange):
            across, *plane = axis_order(change.axis)
            found = np.unravel_index(change.positions, [shape[i] for i in plane])
            places = dict(zip(plane, found, strict=True))
            places[across] = np.array([change.slice_index])
            painted.update(int(i) for i in np.unique(places[axis]))
    return painted
