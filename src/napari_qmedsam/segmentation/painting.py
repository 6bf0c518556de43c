"""Masks into a label slice: who wins where objects overlap."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray


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
