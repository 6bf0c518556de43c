"""Undo and redo of label changes, stored as differences."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SliceChange:
    """The voxels of one slice that changed: flat positions, before and after."""

    slice_index: int
    positions: NDArray[np.int32]
    before: NDArray
    after: NDArray


Step = tuple[SliceChange, ...]
"""Everything one action changed."""


class LabelHistory:
    """Steps back and forward over a label volume.

    Parameters
    ----------
    limit : int
        Steps kept; the oldest goes first. 0 keeps none.
    """

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self._done: list[Step] = []
        self._undone: list[Step] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to make again."""
        return bool(self._undone)

    def record(self, labels: NDArray, before: Mapping[int, NDArray]) -> None:
        """Remember one action, given the slices as they were before it.

        Parameters
        ----------
        labels : ndarray, (Z, Y, X)
            As they are now.
        before : mapping of slice index to (Y, X) array
            Slices that turn out unchanged are left out; an action that changed
            nothing is no step.
        """
        step = []
        for slice_index, old in sorted(before.items()):
            now = labels[slice_index].ravel()
            positions = np.flatnonzero(now != old.ravel()).astype(np.int32)
            if positions.size:
                step.append(
                    SliceChange(
                        slice_index, positions, old.ravel()[positions], now[positions]
                    )
                )
        if step:
            self._done.append(tuple(step))
            del self._done[: max(0, len(self._done) - self.limit)]
            self._undone.clear()

    def undo(self, labels: NDArray) -> tuple[int, ...]:
        """Take the last step back; return the slices it touched."""
        if not self._done:
            return ()
        step = self._done.pop()
        self._undone.append(step)
        return _apply(labels, step, forward=False)

    def redo(self, labels: NDArray) -> tuple[int, ...]:
        """Make the last undone step again; return the slices it touched."""
        if not self._undone:
            return ()
        step = self._undone.pop()
        self._done.append(step)
        return _apply(labels, step, forward=True)

    def clear(self) -> None:
        """Forget every step."""
        self._done.clear()
        self._undone.clear()


def _apply(labels: NDArray, step: Step, forward: bool) -> tuple[int, ...]:
    for change in step:
        values = change.after if forward else change.before
        plane = labels[change.slice_index]
        plane[np.unravel_index(change.positions, plane.shape)] = values
    return tuple(change.slice_index for change in step)
