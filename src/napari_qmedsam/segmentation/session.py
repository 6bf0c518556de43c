"""A working session: volume, model, objects, labels, history, variants. No Qt."""

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import GridMismatch, InvalidBox, InvalidSettings
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.history import LabelHistory
from napari_qmedsam.segmentation.painting import paint
from napari_qmedsam.segmentation.propagation import (
    ObjectPrompt,
    OnEmpty,
    Propagation,
    SliceUpdate,
    segment_volume,
)
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.segmentation.variants import Variants
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


@dataclass(frozen=True)
class SegmentObject:
    """An object the user is after.

    Parameters
    ----------
    object_id : int
        Value of its voxels in the labels; 1 or more.
    box : Box3D
    name : str
    """

    object_id: int
    box: Box3D
    name: str


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
        self.window = volume.default_window() if window is None else window
        self.objects: dict[int, SegmentObject] = {}
        self.history = LabelHistory()
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

    def add_object(
        self, box: Box3D, name: str | None = None, object_id: int | None = None
    ) -> SegmentObject:
        """Add an object; its id is the next free one unless given.

        Raises
        ------
        InvalidBox
            If the box lies outside the volume, or the id is taken.
        """
        box = box.clip(*self.volume.shape)
        if object_id is None:
            object_id = max([0, int(self.labels.max()), *self.objects]) + 1
        if object_id in self.objects:
            raise InvalidBox(f"There is already an object {object_id}.")
        limit = np.iinfo(self.labels.dtype).max
        if not 1 <= object_id <= limit:
            raise InvalidBox(f"Object id {object_id} must lie in 1..{limit}.")
        added = SegmentObject(object_id, box, name or f"object {object_id}")
        self.objects[object_id] = added
        return added

    def change_object(
        self, object_id: int, *, box: Box3D | None = None, name: str | None = None
    ) -> SegmentObject:
        """Give an object another box or name; its voxels stay until segmented.

        Raises
        ------
        InvalidBox
            If there is no such object, or the box lies outside the volume.
        """
        changed = self._object(object_id)
        if box is not None:
            changed = replace(changed, box=box.clip(*self.volume.shape))
        if name is not None:
            changed = replace(changed, name=name)
        self.objects[object_id] = changed
        return changed

    def remove_object(self, object_id: int, erase: bool = False) -> None:
        """Forget an object; its voxels stay unless `erase` (which can be undone).

        Raises
        ------
        InvalidBox
            If there is no such object.
        """
        del self.objects[self._object(object_id).object_id]
        if erase:
            hit = np.flatnonzero((self.labels == object_id).any(axis=(1, 2)))
            before = {int(z): self.labels[z].copy() for z in hit}
            for z in before:
                self.labels[z][self.labels[z] == object_id] = 0
            self.history.record(self.labels, before)

    def prompts(
        self, object_ids: Sequence[int] | None = None, slice_index: int | None = None
    ) -> list[ObjectPrompt]:
        """Return what :meth:`segment` would segment; its arguments, its errors."""
        ids = list(self.objects if object_ids is None else dict.fromkeys(object_ids))
        prompts = []
        for object_id in ids:
            box = self._object(object_id).box
            if slice_index is not None:
                if not box.z_min <= slice_index < box.z_max:
                    continue
                box = Box3D.on_slice(slice_index, box.in_plane)
            prompts.append(ObjectPrompt(object_id, box))
        if not prompts:
            where = "" if slice_index is None else f" on slice {slice_index}"
            raise InvalidSettings(f"There is no box{where} to segment. Draw one first.")
        return prompts

    def segment(
        self,
        object_ids: Sequence[int] | None = None,
        slice_index: int | None = None,
        propagation: Propagation = Propagation.BOX,
        on_empty: OnEmpty = OnEmpty.STOP,
        protect_existing: bool = False,
    ) -> Generator[SliceUpdate, None, None]:
        """Segment objects into the labels, one slice per step.

        A generator. Whether it runs to its end or is closed half way, the
        slices given so far are in the labels, and all of them are one step of
        undo.

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

        Raises
        ------
        InvalidSettings
            If there is nothing to segment, or no model.
        InvalidBox
            If there is no object of an id.
        """
        prompts = self.prompts(object_ids, slice_index)
        if self.segmenter is None:
            raise InvalidSettings("The session has no model. Set its segmenter first.")
        updates = segment_volume(
            self.segmenter, self.volume, prompts, self.window, propagation, on_empty
        )
        return self._paint(updates, [p.object_id for p in prompts], protect_existing)

    def undo(self) -> tuple[int, ...]:
        """Take the last change back; return the slices it touched."""
        return self.history.undo(self.labels)

    def redo(self) -> tuple[int, ...]:
        """Make the last undone change again; return the slices it touched."""
        return self.history.redo(self.labels)

    def save_labels(self, path: str | os.PathLike) -> Path:
        """Write the labels on the volume's own grid.

        Raises
        ------
        UnwritableLabels
            If the folder or the file type does not allow it.
        """
        from napari_qmedsam.volumes.writing import write_labels

        return write_labels(self.labels, self.volume, Path(path))

    def _object(self, object_id: int) -> SegmentObject:
        if object_id not in self.objects:
            raise InvalidBox(f"There is no object {object_id}.")
        return self.objects[object_id]

    def _paint(
        self,
        updates: Generator[SliceUpdate, None, None],
        ids: list[int],
        protect: bool,
    ) -> Generator[SliceUpdate, None, None]:
        labels, before = self.labels, {}
        painted: dict[int, set[int]] = {}
        try:
            with closing(updates):
                for update in updates:
                    z = update.slice_index
                    plane = labels[z]
                    if z not in before:
                        before[z], painted[z] = plane.copy(), set()
                    paint(plane, update.masks, ids, protect, painted[z])
                    painted[z].update(index for index, _ in update.masks)
                    yield update
        finally:
            # Another array that was put in its place has its own history.
            if np.may_share_memory(labels, self.labels):
                self.history.record(labels, before)


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
