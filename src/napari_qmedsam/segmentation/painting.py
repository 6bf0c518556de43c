"""Masks into a label slice: who wins where objects overlap."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def paint(
    plane: NDArray[np.integer],
    masks: Sequence[tuple[int, NDArray[np.bool_]]],
    object_ids: Sequence[int],
    protect_existing: bool = False,
) -> None:
    """Paint masks into a (Y, X) label slice, in place.

    The later object wins, by its place in `object_ids` and not by the order in
    which slices happen to be visited. What an object had on this slice before
    is replaced. Labels of objects outside `object_ids` give way, unless they
    are protected.

    Parameters
    ----------
    plane : ndarray, (Y, X) integer
    masks : sequence of (index, mask)
        Index into `object_ids`.
    object_ids : sequence of int
    protect_existing : bool
        Keep the labels of objects that are not being segmented.
    """
    ids = np.asarray(object_ids)
    for index, mask in sorted(masks, key=lambda pair: pair[0]):
        object_id = object_ids[index]
        plane[plane == object_id] = 0
        blocked = np.isin(plane, ids[index + 1 :])
        if protect_existing:
            blocked |= (plane != 0) & ~np.isin(plane, ids)
        plane[mask & ~blocked] = object_id
