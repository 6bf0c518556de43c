"""Objects and labels of a volume, with undo. No model, no Qt."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import GridMismatch, InvalidBox, InvalidSettings
from napari_qmedsam.prompts import Box2D, Box3D, hull
from napari_qmedsam.segmentation.history import History, Step
from napari_qmedsam.segmentation.objects import (
    SegmentObject,
    changed_object,
    key_boxes,
    with_refinements,
)
from napari_qmedsam.segmentation.painting import paint_free
from napari_qmedsam.segmentation.tidying import Tidying
from napari_qmedsam.volumes.label_bounds import label_bounds
from napari_qmedsam.volumes.labels import labels_on_grid
from napari_qmedsam.volumes.reslicing import axis_order, stacked_along
from napari_qmedsam.volumes.segments import Segment, as_segments
from napari_qmedsam.volumes.volume import Volume


class Annotation:
    """What a user says of a volume: objects with their boxes, and their voxels.

    Threads: one run, which paints what a model gives, may go on in one thread while
    others add, change and remove objects, record brush strokes, save, and look at
    labels, of which they may see a slice half painted. What takes back or puts
    in place of what the run paints is refused until it is over: :meth:`undo`,
    :meth:`redo`, :meth:`restore`, and a second run. Each change is made under
    ``history.lock``, for no longer than it takes to paint a slice.

    Parameters
    ----------
    volume : Volume
    labels : ndarray, (Z, Y, X) integer, optional
        Changed in place, so that a viewer can share it. Default: zeros, uint16.
    """

    def __init__(self, volume: Volume, labels: NDArray | None = None) -> None:
        self.volume = volume
        self.objects: dict[int, SegmentObject] = {}
        self.history = History()
        self._painters: list[int] = []
        """The thread of each run that is under way: always the same one."""
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
            If its shape is not the volume's, or it holds no integers.
        InvalidSettings
            If it cannot be written to.
        """
        if labels.shape != self.volume.shape:
            raise GridMismatch(
                f"Labels of shape {labels.shape} do not fit the volume "
                f"{self.volume.shape}."
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise GridMismatch(f"Labels must be integers, not {labels.dtype}.")
        if not labels.flags.writeable:
            raise InvalidSettings(
                "The array of labels is read-only, and is to be painted into. Give a "
                "copy of it."
            )
        with self.history.lock:
            if not np.may_share_memory(labels, self.labels):
                self.history.clear()
            self.labels = labels

    # Objects --------------------------------------------------------------

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Names and colours of the objects, as files keep them."""
        return tuple(item.segment for item in self.objects.values())

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
            Further fields of :class:`SegmentObject`, and ``points``.

        Raises
        ------
        InvalidBox
            If the box lies outside the volume, or the id is taken.
        """
        with self.history.lock:
            return self._add_object(box, name, object_id, axis, attributes)

    def _add_object(
        self,
        box: Box3D,
        name: str | None,
        object_id: int | None,
        axis: int,
        attributes: dict[str, Any],
    ) -> SegmentObject:
        box = box.clip(*self.shape_along(axis))
        if object_id is None:
            object_id = max([0, int(self.labels.max()), *self.objects]) + 1
        if object_id in self.objects:
            raise InvalidBox(f"There is already an object {object_id}.")
        limit = np.iinfo(self.labels.dtype).max
        if not 1 <= object_id <= limit:
            raise InvalidBox(f"Object id {object_id} must lie in 1..{limit}.")
        name = name or f"object {object_id}"
        added = SegmentObject(
            object_id, box, name, axis, **with_refinements(attributes)
        )
        self._change(added)
        return added

    def add_objects_from_labels(
        self,
        labels: Volume | NDArray[np.integer],
        names: Mapping[int, str] | Iterable[Segment] | None = None,
        axis: int = 0,
    ) -> tuple[SegmentObject, ...]:
        """Go on with what another tool, or an earlier session, has made.

        Each label becomes an object with its tight box on every slice that holds it,
        locked at first: its voxels are kept until somebody unlocks it. They are
        painted where there is no label yet. One step of undo.

        Parameters
        ----------
        labels : Volume, or ndarray, (Z, Y, X) integer
            As :func:`~napari_qmedsam.read_labels` gives them; brought to the volume's
            grid.
        names : mapping of int to str, or segments, optional
            Default: names and colours that the label file gives.
        axis : int
            Array axis that the slices lie across.

        Returns
        -------
        tuple of SegmentObject
            By label. An object has the number of its label, the next free one where
            another object has that.

        Raises
        ------
        GridMismatch
            If the labels cannot be brought there.
        InvalidSettings
            If there is no label.
        """
        placed = labels_on_grid(labels, self.volume)
        known = {s.number: s for s in as_segments(names) or placed.segments}
        stack = stacked_along(placed.array, axis)
        bounds = label_bounds(stack)
        if not bounds:
            raise InvalidSettings("There are no labels to make objects from.")
        ids, made = {}, []
        with self.history.lock, self.history.step():
            for number, extent in bounds.items():
                is_free = number not in self.objects
                is_free &= number <= np.iinfo(self.labels.dtype).max
                segment = known.get(number, Segment(number, f"label {number}"))
                keys = key_boxes(stack, number, extent)
                first, last = keys[0].slice_index, keys[-1].slice_index
                flat = hull([key.box for key in keys])
                box = Box3D(
                    flat.x_min, flat.y_min, first, flat.x_max, flat.y_max, last + 1
                )
                added = self.add_object(
                    box,
                    segment.name,
                    number if is_free else None,
                    axis,
                    keys=keys,
                    colour=segment.colour,
                    is_locked=True,
                )
                ids[number] = added.object_id
                made.append(added)
            self.history.record(self.labels, paint_free(self.labels, placed.array, ids))
        return tuple(made)

    def change_object(self, object_id: int, **attributes: Any) -> SegmentObject:
        """Give an object other attributes; its voxels stay until segmented.

        Changes of what a model is asked for are steps of undo; name,
        visibility and lock are not.

        Parameters
        ----------
        object_id : int
        **attributes
            Fields of :class:`SegmentObject`, and ``points``, all of them. A new
            `box` without `keys` moves the slices only, where there are key boxes.

        Raises
        ------
        InvalidBox
            If there is no such object, or the box lies outside the volume.
        InvalidSettings
            If the object is locked and is not unlocked by this.
        """
        with self.history.lock:
            changed = changed_object(
                self._object(object_id), self.volume.shape, **attributes
            )
            self._change(changed)
            return changed

    def set_box(self, object_id: int, slice_index: int, box: Box2D) -> SegmentObject:
        """Draw a key box on one slice of an object, in place of the one there.

        The object reaches to that slice from then on. An object without key
        boxes gets its own box as the first, on its middle slice.

        Parameters
        ----------
        object_id : int
        slice_index : int
            Along the object's axis.
        box : Box2D

        Raises
        ------
        InvalidBox, InvalidSettings
            As :meth:`change_object`.
        """
        with self.history.lock:
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
        with self.history.lock, self.history.step():
            gone = self._object(object_id)
            if gone.is_locked:
                raise InvalidSettings(f"'{gone.name}' is locked. Unlock it first.")
            del self.objects[object_id]
            self.history.record_objects({object_id: gone}, {})
            if erase:
                hit = np.flatnonzero((self.labels == object_id).any(axis=(1, 2)))
                planes = {(0, int(z)): self.labels[z].copy() for z in hit}
                for _, z in planes:
                    self.labels[z][self.labels[z] == object_id] = 0
                self.history.record(self.labels, planes)

    def tidy(self, object_id: int, tidying: Tidying) -> None:
        """Tidy the voxels of an object in 3D; one step of undo.

        Voxels of other objects stay theirs.

        Raises
        ------
        InvalidBox
            If there is no such object.
        InvalidSettings
            If it is locked, or a run is under way.
        """
        with self.history.lock, self.history.step():
            self._wait_for_run()
            wanted = self._object(object_id)
            if wanted.is_locked:
                raise are_locked([wanted], "tidied")
            axis = wanted.axis
            stack = stacked_along(self.labels, axis)
            spacing = self.volume.spacing_mm[axis]
            old = stack == object_id
            new = tidying.apply(old, spacing) & ((stack == 0) | old)
            changed = np.flatnonzero((new != old).any(axis=(1, 2)))
            planes = {(axis, int(z)): stack[z].copy() for z in changed}
            for z in changed:
                stack[z][old[z]] = 0
                stack[z][new[z]] = object_id
            self.history.record(self.labels, planes)

    def clear_labels(self) -> None:
        """Take every voxel away, those of locked objects too; one step of undo.

        In a new array: a run under way ends on the old one.
        """
        with self.history.lock, self.history.step():
            filled = np.flatnonzero(self.labels.any(axis=(1, 2)))
            planes = {(0, int(z)): self.labels[z].copy() for z in filled}
            self.labels = np.zeros_like(self.labels)
            self.history.record(self.labels, planes)

    def shape_along(self, axis: int) -> tuple[int, int, int]:
        """Return slices, rows and columns of the volume seen along an axis."""
        depth, height, width = (self.volume.shape[i] for i in axis_order(axis))
        return depth, height, width

    # History --------------------------------------------------------------

    def undo(self) -> tuple[int, ...]:
        """Take the last change back; return the slices it touched.

        Raises
        ------
        InvalidSettings
            If it is a change of a locked object, or a run is under way.
        """
        with self.history.lock:
            self._wait_for_run()
            self._keep_locked(self.history.last, "taken back")
            return self.history.undo(self.labels, self.objects)

    def redo(self) -> tuple[int, ...]:
        """Make the last undone change again; otherwise as :meth:`undo`."""
        with self.history.lock:
            self._wait_for_run()
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
        InvalidSettings
            If a run is under way.
        """
        largest, own = int(labels.max(initial=0)), self.labels
        if labels.shape != own.shape or largest > np.iinfo(own.dtype).max:
            raise GridMismatch(
                f"Labels of shape {labels.shape} with values up to {largest} do not "
                f"fit those of shape {own.shape} and type {own.dtype}."
            )
        with self.history.lock, self.history.step():
            self._wait_for_run()
            before = dict(self.objects)
            changed = np.flatnonzero((self.labels != labels).any(axis=(1, 2)))
            planes = {(0, int(z)): self.labels[z].copy() for z in changed}
            self.objects.clear()
            self.objects.update((o.object_id, o) for o in objects)
            self.labels[...] = labels
            self.history.record_objects(before, self.objects)
            self.history.record(self.labels, planes)

    # Files ----------------------------------------------------------------

    def save_labels(self, path: str | os.PathLike) -> Path:
        """Write the labels on the volume's own grid, with names and colours.

        Raises
        ------
        UnwritableLabels
            If the folder or the file type does not allow it.
        """
        from napari_qmedsam.volumes.writing import write_labels

        with self.history.lock:
            return write_labels(
                self.labels, self.volume, Path(path), names=self.segments
            )

    # Runs -----------------------------------------------------------------

    @contextmanager
    def painting(self) -> Iterator[None]:
        """Say that this thread paints in the block what a model gives.

        Raises
        ------
        InvalidSettings
            If another thread does.
        """
        with self.history.lock:
            self._wait_for_run()
            thread = threading.get_ident()
            self._painters.append(thread)
        try:
            yield
        finally:
            self._painters.remove(thread)

    # Helpers --------------------------------------------------------------

    def _wait_for_run(self) -> None:
        if set(self._painters) - {threading.get_ident()}:
            raise InvalidSettings(
                "Segmenting is under way. Wait until it is done, or cancel it."
            )

    def _keep_locked(self, step: Step | None, what: str) -> None:
        ids = step.object_ids - step.made_locked if step else set()
        locked = [o for i, o in self.objects.items() if i in ids and o.is_locked]
        if locked:
            raise are_locked(locked, what)

    def _object(self, object_id: int) -> SegmentObject:
        if object_id not in self.objects:
            raise InvalidBox(f"There is no object {object_id}.")
        return self.objects[object_id]

    def _change(self, changed: SegmentObject) -> None:
        object_id = changed.object_id
        old = self.objects.get(object_id)
        self.objects[object_id] = changed
        if old is None or old.prompt != changed.prompt:
            # Of the others nothing is asked: there may be thousands.
            before = {} if old is None else {object_id: old}
            self.history.record_objects(before, {object_id: changed})


def are_locked(objects: Sequence[SegmentObject], what: str) -> InvalidSettings:
    """Return the error for locked objects that something was to be done to."""
    names = ", ".join(f"'{o.name}'" for o in objects)
    return InvalidSettings(f"Locked: {names}. Unlock what is to be {what}.")
