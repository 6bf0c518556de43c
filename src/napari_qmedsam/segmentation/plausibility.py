"""Masks that nobody should trust unseen, and why."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.preprocessing import slice_image
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.segmentation.early_stop import Appearance, EarlyStop
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.volumes.reslicing import seen_along, stacked_along
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

LARGEST_SHARE_OUTSIDE = 0.1
"""Of a mask that may lie outside the box that was drawn for it."""

LARGEST_GAP = 0.2
"""Of a box's width or height that may be free at any of its sides."""

LEAST_GAP = 3
"""Pixels that may always be free: nobody draws a box closer than that."""


LEAST_FILLED = 0.35
"""Of a box's area that the box around its mask must take; less is far too large."""


class Doubt(Enum):
    """Why a mask is doubted; the value is how it is told."""

    EMPTY = "it is empty"
    OUTSIDE_BOX = "it reaches out of its box"
    BOX_NOT_FILLED = "it does not reach the sides of its box"
    BOX_TOO_LARGE = "its box is far too large"
    OTHER_GREY = "it lies on other greys than where it was drawn"


def doubts_in_box(mask: NDArray[np.bool_], box: Box2D) -> tuple[Doubt, ...]:
    """Return what speaks against a mask, given the box that was drawn for it.

    Parameters
    ----------
    mask : ndarray, (Y, X) bool
    box : Box2D
        Drawn around the object on this very slice.
    """
    tight = Box2D.around(mask)
    if tight is None:
        return (Doubt.EMPTY,)
    doubts = []
    inside = mask[_pixels(box.y_min, box.y_max), _pixels(box.x_min, box.x_max)]
    outside = 1 - np.count_nonzero(inside) / np.count_nonzero(mask)
    if outside > LARGEST_SHARE_OUTSIDE:
        doubts.append(Doubt.OUTSIDE_BOX)
    across, down = (
        max(LARGEST_GAP * length, LEAST_GAP)
        for length in (box.x_max - box.x_min, box.y_max - box.y_min)
    )
    if (
        max(tight.x_min - box.x_min, box.x_max - tight.x_max) > across
        or max(tight.y_min - box.y_min, box.y_max - tight.y_max) > down
    ):
        doubts.append(Doubt.BOX_NOT_FILLED)
    width, height = tight.x_max - tight.x_min, tight.y_max - tight.y_min
    area = (box.x_max - box.x_min) * (box.y_max - box.y_min)
    if doubts and width * height < LEAST_FILLED * area:
        doubts.append(Doubt.BOX_TOO_LARGE)
    return tuple(doubts)


@dataclass(frozen=True)
class Plausibility:
    """What speaks against the masks of an object.

    Parameters
    ----------
    doubts : mapping of int to tuple of Doubt
        By slice along the object's axis; only slices with a doubt.
    """

    doubts: dict[int, tuple[Doubt, ...]]

    def __bool__(self) -> bool:
        """Whether nothing speaks against them."""
        return not self.doubts

    def after(self, now: "Plausibility", slices: Collection[int]) -> "Plausibility":
        """Return it with what was found when some slices were looked at again."""
        kept = {z: d for z, d in self.doubts.items() if z not in slices}
        return Plausibility(kept | now.doubts)

    def text(self, number: Callable[[int], int] = int) -> str:
        """Return the doubts with their slices, a line each; empty without any.

        Parameters
        ----------
        number : callable
            Gives a slice the number that it is known by; by default its index.
        """
        lines = []
        for doubt in Doubt:
            found = (z for z, doubts in self.doubts.items() if doubt in doubts)
            slices = sorted(number(z) for z in found)
            if slices:
                where = ", ".join(str(z) for z in slices[:5])
                more = ", …" if len(slices) > 5 else ""
                lines.append(f"Look at the mask: {doubt.value} (slice {where}{more}).")
        return "\n".join(lines)


def check_object(
    o: SegmentObject,
    volume: Volume,
    labels: NDArray[np.integer],
    window: Window,
    slices: Collection[int] | None = None,
    stop: EarlyStop | None = None,
) -> Plausibility:
    """Look for what speaks against the masks of an object.

    Boxes are held against the masks of the slices they were drawn on: on others,
    the object may have any size below. A box over several slices without key boxes
    is held against all of them taken together. Greys are held against those on the
    first drawn slice with a mask.

    Parameters
    ----------
    o : SegmentObject
    volume : Volume
    labels : ndarray, (Z, Y, X) integer
    window : Window
        In which greys are compared.
    slices : collection of int, optional
        Along the object's axis; only these are looked at. Default: all.
    stop : EarlyStop, optional
        How far greys may move. Default: `EarlyStop()`.
    """
    stop = EarlyStop() if stop is None else stop
    seen = seen_along(volume, o.axis)
    stack = stacked_along(labels, o.axis)[o.box.z_min : o.box.z_max] == o.object_id
    low = o.box.z_min
    middle = o.box.middle_slice
    doubts: dict[int, tuple[Doubt, ...]] = {}
    if o.keys:
        drawn = {key.slice_index: key.box for key in o.keys}
        for slice_index, box in drawn.items():
            if slices is not None and slice_index not in slices:
                continue
            doubts[slice_index] = doubts_in_box(stack[slice_index - low], box)
    else:
        drawn = {middle: o.box.in_plane}
        if slices is None or set(slices) >= set(range(o.box.z_min, o.box.z_max)):
            doubts[middle] = doubts_in_box(stack.any(axis=0), o.box.in_plane)
    filled = [int(z) + low for z in np.flatnonzero(stack.any(axis=(1, 2)))]
    starts = [z for z in drawn if z in filled] or filled[:1]
    if starts and not seen.is_colour:

        def appearance_on(slice_index: int) -> Appearance:
            image = slice_image(seen.array, slice_index, window)
            return Appearance.under(stack[slice_index - low], image)

        first = appearance_on(starts[0])
        for slice_index in filled:
            if slices is not None and slice_index not in slices:
                continue
            if stop.is_other_grey(appearance_on(slice_index), first):
                own = doubts.get(slice_index, ())
                doubts[slice_index] = (*own, Doubt.OTHER_GREY)
    return Plausibility({z: found for z, found in doubts.items() if found})


def _pixels(low: float, high: float) -> slice:
    """Return the pixels that a box covers, cut ones with them."""
    return slice(max(int(np.floor(low)), 0), max(int(np.ceil(high)), 0))
