"""Masks into labels: who wins where objects overlap, and what was there before."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.segmentation.history import Slice
from napari_qmedsam.segmentation.tracking import SliceUpdate
from napari_qmedsam.volumes.reslicing import stacked_along


def paint(
    plane: NDArray[np.integer],
    masks: Sequence[tuple[int, NDArray[np.bool_]]],
    object_ids: Sequence[int],
    protect_existing: bool = False,
    painted: Collection[int] = (),
    locked: Collection[int] = (),
) -> None:
    """Paint masks into a (Y, X) label slice, in place.

    The later object wins, by its place in `object_ids` and not by the order in
    which slices happen to be visited. What an object had on this slice before
    is replaced, and never stands in the way of another object that is being
    segmented: it is about to go. Labels of objects outside `object_ids` give
    way, unless they are protected.

    Parameters
    ----------
    plane : ndarray, (Y, X) integer
    masks : sequence of (index, mask)
        Index into `object_ids`.
    object_ids : sequence of int
    protect_existing : bool
        Keep the labels of objects that are not being segmented.
    painted : collection of int
        Indices of the objects that an earlier visit of this slice painted.
    locked : collection of int
        Ids whose voxels stay, whoever comes.
    """
    ids = np.asarray(object_ids)
    plane[np.isin(plane, [object_ids[index] for index, _ in masks])] = 0
    for index, mask in sorted(masks, key=lambda pair: pair[0]):
        object_id = object_ids[index]
        later = [object_ids[other] for other in painted if other > index]
        blocked = np.isin(plane, [*later, *locked])
        if protect_existing:
            blocked |= (plane != 0) & ~np.isin(plane, ids)
        plane[mask & ~blocked] = object_id


class Painter:
    """Paints what a model gives, slice by slice, and remembers what was there.

    Parameters
    ----------
    labels : ndarray, (Z, Y, X) integer
        Painted in place.
    protect_existing : bool
        Keep the labels of objects that are not being segmented.
    """

    def __init__(self, labels: NDArray, protect_existing: bool = False) -> None:
        self.labels, self.protect_existing = labels, protect_existing
        self.before: dict[Slice, NDArray] = {}
        """Slices as they were, as :meth:`History.record` takes them."""
        self._painted: dict[Slice, set[int]] = {}

    def paint(
        self,
        update: SliceUpdate,
        object_ids: Sequence[int],
        locked: Collection[int] = (),
    ) -> None:
        """Paint the masks of one visit.

        Parameters
        ----------
        update : SliceUpdate
        object_ids : sequence of int
            The ids behind the indices of its masks.
        locked : collection of int
            Ids whose voxels stay.
        """
        place = update.axis, update.slice_index
        plane = stacked_along(self.labels, update.axis)[update.slice_index]
        if place not in self.before:
            # Most slices hold nothing yet; a zero for all takes no memory.
            empty = np.broadcast_to(plane.dtype.type(0), plane.shape)
            self.before[place] = plane.copy() if plane.any() else empty
            self._painted[place] = set()
        painted = self._painted[place]
        paint(plane, update.masks, object_ids, self.protect_existing, painted, locked)
        painted.update(index for index, _ in update.masks)


def paint_free(
    labels: NDArray[np.integer], others: NDArray[np.integer], ids: Mapping[int, int]
) -> dict[Slice, NDArray]:
    """Paint other labels as objects of these ids where there is no label yet.

    Parameters
    ----------
    labels : ndarray, (Z, Y, X) integer
        Painted in place.
    others : ndarray, (Z, Y, X) integer
    ids : mapping of int to int
        By each label of `others`, in rising order.

    Returns
    -------
    dict of Slice to ndarray, (Y, X)
        What stood on the slices that were painted.
    """
    numbers = np.array([0, *ids])
    values = np.array([0, *ids.values()]).astype(labels.dtype)
    before: dict[Slice, NDArray] = {}
    for z in np.flatnonzero(others.any(axis=(1, 2))):
        plane = labels[z]
        new = values[np.searchsorted(numbers, others[z])]
        free = (plane == 0) & (new != 0)
        if free.any():
            before[0, int(z)] = plane.copy()
            plane[free] = new[free]
    return before
