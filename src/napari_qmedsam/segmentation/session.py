"""A working session: volume, model, objects, labels, history, variants. No Qt."""

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import GridMismatch, InvalidBox, InvalidSettings
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.segmentation.carrying import carry_on, paint_updates
from napari_qmedsam.segmentation.following import Direction, EarlyStop
from napari_qmedsam.segmentation.history import History, Step, touched_objects
from napari_qmedsam.segmentation.objects import (
    ObjectPrompt,
    SegmentObject,
    changed_object,
)
from napari_qmedsam.segmentation.propagation import (
    OnEmpty,
    Propagation,
    SliceUpdate,
    segment_volume,
)
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.segmentation.variants import Variants
from napari_qmedsam.volumes.reslicing import axis_order
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


class Session:
    """Everything one volume's segmentation needs; widgets and scripts drive it.

    Parameters
    ----------
    volume : Volume
    segmenter : SliceSegmenter, optional
        Needed by :meth:`segment` only; may be set or exchanged at any time.
    window : Window, optional
        Default: the volume's own.
    labels : ndarray, (Z, Y, X) integer, optional
        Painted in place, so that a viewer can share it. Default: zeros, uint16.
    variants : Variants, optional
        Models to be compared; sessions may share them. Default: none yet.
    """

    def __init__(
        self,
        volume: Volume,
        segmenter: SliceSegmenter | None = None,
        window: Window | None = None,
        labels: NDArray | None = None,
        variants: Variants | None = None,
    ) -> None:
        self.volume, self.segmenter = volume, segmenter
        self.variants = Variants() if variants is None else variants
        self.window = volume.window_or_default(window)
        self.objects: dict[int, SegmentObject] = {}
        self.history = History()
        self.labels = np.zeros(volume.shape, np.uint16)
        if labels is not None:
            self.share_labels(labels)

    def share_labels(self, labels: NDArray) -> None:
        """Paint into this array from now on.

        The history belongs to the array before it, and is forgotten unless
        the two share memory.

        Raises
        ------
        GridMismatch
            If its shape is not the volume's.
        """
        if labels.shape != self.volume.shape:
            raise GridMismatch(
                f"Labels of shape {labels.shape} do not fit the volume "
                f"{self.volume.shape}."
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise GridMismatch(f"Labels must be integers, not {labels.dtype}.")
        if not np.may_share_memory(labels, self.labels):
            self.history.clear()
        self.labels = labels

    # Objects --------------------------------------------------------------

    def add_object(
        self,
        box: Box3D,
        name: str | None = None,
        object_id: int | None = None,
        axis: int = 0,
        **attributes: Any,
    ) -> SegmentObject:
        """Add an object; its id is the next free one unless given.

        Parameters
        ----------
        box : Box3D
            Of the volume seen along `axis`.
        name : str, optional
        object_id : int, optional
        axis : int
        **attributes
            Further fields of :class:`SegmentObject`.

        Raises
        ------
        InvalidBox
            If the box lies outside the volume, or the id is taken.
        """
        box = box.clip(*self.shape_along(axis))
        if object_id is None:
            object_id = max([0, int(self.labels.max()), *self.objects]) + 1
        if object_id in self.objects:
            raise InvalidBox(f"There is already an object {object_id}.")
        limit = np.iinfo(self.labels.dtype).max
        if not 1 <= object_id <= limit:
            raise InvalidBox(f"Object id {object_id} must lie in 1..{limit}.")
        name = name or f"object {object_id}"
        added = SegmentObject(object_id, box, name, axis, **attributes)
        self._change(added)
        return added

    def change_object(self, object_id: int, **attributes: Any) -> SegmentObject:
        """Give an object other attributes; its voxels stay until segmented.

        Changes of what a model is asked for are steps of undo; name,
        visibility and lock are not.

        Parameters
        ----------
        object_id : int
        **attributes
            Fields of :class:`SegmentObject`. A new `box` without `keys` moves
            the slices only, where there are key boxes.

        Raises
        ------
        InvalidBox
            If there is no such object, or the box lies outside the volume.
        InvalidSettings
            If the object is locked and is not unlocked by this.
        """
        changed = changed_object(
            self._object(object_id), self.volume.shape, **attributes
        )
        self._change(changed)
        return changed

    def set_box(self, object_id: int, slice_index: int, box: Box2D) -> SegmentObject:
        """Draw a key box on one slice of an object, in place of the one there.

        The object reaches to that slice from then on. An object without key
        boxes gets its own box as the first, on its middle slice.

        Raises
        ------
        InvalidBox, InvalidSettings
            As :meth:`change_object`.
        """
        keyed = self._object(object_id).with_key(slice_index, box)
        return self.change_object(object_id, box=keyed.box, keys=keyed.keys)

    def remove_object(self, object_id: int, erase: bool = False) -> None:
        """Forget an object; its voxels stay unless `erase`.

        Raises
        ------
        InvalidBox
            If there is no such object.
        InvalidSettings
            If it is locked.
        """
        gone = self._object(object_id)
        if gone.is_locked:
            raise InvalidSettings(f"'{gone.name}' is locked. Unlock it first.")
        before = dict(self.objects)
        del self.objects[object_id]
        self.history.record_objects(before, self.objects)
        if erase:
            hit = np.flatnonzero((self.labels == object_id).any(axis=(1, 2)))
            planes = {(0, int(z)): self.labels[z].copy() for z in hit}
            for _, z in planes:
                self.labels[z][self.labels[z] == object_id] = 0
            self.history.record(self.labels, planes, self.history.last)

    def shape_along(self, axis: int) -> tuple[int, int, int]:
        """Return slices, rows and columns of the volume seen along an axis."""
        depth, height, width = (self.volume.shape[i] for i in axis_order(axis))
        return depth, height, width

    # Segmenting -----------------------------------------------------------

    def prompts(
        self,
        object_ids: Sequence[int] | None = None,
        slice_index: int | None = None,
        axis: int = 0,
    ) -> list[ObjectPrompt]:
        """Return what :meth:`segment` would segment; its arguments, its errors."""
        ids = list(self.objects if object_ids is None else dict.fromkeys(object_ids))
        chosen = [self._object(object_id) for object_id in ids]
        if slice_index is not None:
            chosen = [
                o for o in chosen if o.axis == axis and o.prompt.reaches(slice_index)
            ]
        free = [o.prompt for o in chosen if not o.is_locked]
        if chosen and not free:
            raise _are_locked(chosen, "segmented")
        if not free:
            where = "" if slice_index is None else f" on slice {slice_index}"
            raise InvalidSettings(f"There is no box{where} to segment. Draw one first.")
        return free if slice_index is None else [p.on_slice(slice_index) for p in free]

    def segment(
        self,
        object_ids: Sequence[int] | None = None,
        slice_index: int | None = None,
        propagation: Propagation = Propagation.BOX,
        on_empty: OnEmpty = OnEmpty.STOP,
        protect_existing: bool = False,
        axis: int = 0,
        join: bool = False,
    ) -> Generator[SliceUpdate, None, None]:
        """Segment objects into the labels, one slice per step.

        A generator. Whether it runs to its end or is closed half way, the
        slices given so far are in the labels, and all of them are one step of
        undo. Locked objects are left out, and their voxels stay.

        Parameters
        ----------
        object_ids : sequence of int, optional
            Default: all; those that do not reach `slice_index` are left out.
        slice_index : int, optional
            Only this slice. Default: each object's whole range.
        propagation : Propagation
        on_empty : OnEmpty
        protect_existing : bool
            Keep the labels of other objects.
        axis : int
            Array axis that `slice_index` counts along; objects drawn across
            another one are left out.
        join : bool
            Make it one step of undo with the change of a box just before.

        Raises
        ------
        InvalidSettings
            If there is nothing to segment, or no model.
        InvalidBox
            If there is no object of an id.
        """
        prompts = self.prompts(object_ids, slice_index, axis)
        updates = segment_volume(
            self.model(), self.volume, prompts, self.window, propagation, on_empty
        )
        ids = [p.object_id for p in prompts]
        step = self.history.last_of_objects if join else None
        return paint_updates(self, updates, ids, protect_existing, step)

    def segment_from(
        self,
        slice_index: int,
        direction: Direction,
        object_ids: Sequence[int] | None = None,
        axis: int = 0,
        protect_existing: bool = False,
        stop: EarlyStop | None = None,
    ) -> Generator[SliceUpdate, None, None]:
        """Carry the masks of one slice up or down, as they are in the labels now.

        So a slice that was corrected, by hand or by a box, is where the slices
        beyond it start from. Objects without a voxel on the slice are
        segmented there first. Those that go further than their box have it
        extended. A generator, and one step of undo, like :meth:`segment`; see
        :func:`~napari_qmedsam.segmentation.following.follow` for where it ends.

        Raises
        ------
        InvalidSettings, InvalidBox
            As :meth:`segment`.
        """
        here = self.prompts(object_ids, slice_index, axis)
        self.model()
        return carry_on(self, here, slice_index, direction, protect_existing, stop)

    # History --------------------------------------------------------------

    def undo(self) -> tuple[int, ...]:
        """Take the last change back; return the slices it touched.

        Raises
        ------
        InvalidSettings
            If it is a change of a locked object.
        """
        self._keep_locked(self.history.last, "taken back")
        return self.history.undo(self.labels, self.objects)

    def redo(self) -> tuple[int, ...]:
        """Make the last undone change again; return the slices it touched.

        Raises
        ------
        InvalidSettings
            If it is a change of a locked object.
        """
        self._keep_locked(self.history.next, "made again")
        return self.history.redo(self.labels, self.objects)

    def restore(
        self, objects: Sequence[SegmentObject], labels: NDArray[np.integer]
    ) -> None:
        """Put objects and labels in place of all there are; one step of undo.

        Parameters
        ----------
        objects : sequence of SegmentObject
        labels : ndarray, (Z, Y, X) integer

        Raises
        ------
        GridMismatch
            If the labels do not fit the volume, or do not fit in its labels' type.
        """
        largest, own = int(labels.max(initial=0)), self.labels
        if labels.shape != own.shape or largest > np.iinfo(own.dtype).max:
            raise GridMismatch(
                f"Labels of shape {labels.shape} with values up to {largest} do not "
                f"fit those of shape {own.shape} and type {own.dtype}."
            )
        before = dict(self.objects)
        changed = np.flatnonzero((self.labels != labels).any(axis=(1, 2)))
        planes = {(0, int(z)): self.labels[z].copy() for z in changed}
        self.objects.clear()
        self.objects.update((o.object_id, o) for o in objects)
        self.labels[...] = labels
        self.history.record_objects(before, self.objects)
        is_step = before != self.objects
        self.history.record(self.labels, planes, self.history.last if is_step else None)

    # Files ----------------------------------------------------------------

    def save_labels(self, path: str | os.PathLike) -> Path:
        """Write the labels on the volume's own grid.

        Raises
        ------
        UnwritableLabels
            If the folder or the file type does not allow it.
        """
        from napari_qmedsam.volumes.writing import write_labels

        return write_labels(self.labels, self.volume, Path(path))

    # Helpers --------------------------------------------------------------

    def _keep_locked(self, step: Step | None, what: str) -> None:
        ids = touched_objects(step) if step else set()
        locked = [o for i, o in self.objects.items() if i in ids and o.is_locked]
        if locked:
            raise _are_locked(locked, what)

    def _object(self, object_id: int) -> SegmentObject:
        if object_id not in self.objects:
            raise InvalidBox(f"There is no object {object_id}.")
        return self.objects[object_id]

    def model(self) -> SliceSegmenter:
        """Return the segmenter.

        Raises
        ------
        InvalidSettings
            If there is none yet.
        """
        if self.segmenter is None:
            raise InvalidSettings("The session has no model. Set its segmenter first.")
        return self.segmenter

    def _change(self, changed: SegmentObject) -> None:
        old = self.objects.get(changed.object_id)
        before = dict(self.objects)
        self.objects[changed.object_id] = changed
        if old is None or old.prompt != changed.prompt:
            self.history.record_objects(before, self.objects)


def _are_locked(objects: Sequence[SegmentObject], what: str) -> InvalidSettings:
    """Return the error for locked objects that something was to be done to."""
    names = ", ".join(f"'{o.name}'" for o in objects)
    return InvalidSettings(f"Locked: {names}. Unlock what is to be {what}.")


def open_session(
    path: str | os.PathLike, model: str = "demo", backend: str = "openvino"
) -> Session:
    """Read a volume, load a model, and start a session on both.

    Parameters
    ----------
    path : path
        Anything :func:`~napari_qmedsam.volumes.read_volume` reads.
    model, backend : str
        As for :func:`~napari_qmedsam.runtime.load_backend`.
    """
    from napari_qmedsam.runtime import load_backend
    from napari_qmedsam.volumes import read_volume

    volume = read_volume(Path(path))
    return Session(volume, SliceSegmenter(load_backend(model, backend)))
