"""What slices between key boxes are expected to show: their shapes, interpolated."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.prompts import Box2D, KeyBox, interpolate, keys_around
from napari_qmedsam.segmentation.evidence import (
    WorkingSlices,
    grey_table,
    signed_distance,
)


@dataclass(frozen=True)
class KeyShape:
    """An object on the slice of one of its key boxes.

    Parameters
    ----------
    key : KeyBox
    distance : ndarray, (Y, X) float32
        Signed distance from the mask's edge, in the working frame.
    greys : ndarray, (256,) float32
        What each grey says there.
    """

    key: KeyBox
    distance: NDArray[np.float32]
    greys: NDArray[np.float32]


class KeyShapes:
    """The shapes of an object on its key slices, and between them.

    Parameters
    ----------
    slices : WorkingSlices
    keys : sequence of KeyBox
        Two or more.
    mask_of : callable
        Returns the (Y, X) mask that the model gives a key box, in the working frame;
        called once for each that is needed.
    """

    def __init__(
        self,
        slices: WorkingSlices,
        keys: tuple[KeyBox, ...],
        mask_of: Callable[[KeyBox], NDArray[np.bool_]],
    ) -> None:
        self.slices, self.keys, self._mask_of = slices, keys, mask_of
        self._known: dict[int, KeyShape | None] = {}

    def expected(
        self, slice_index: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Return what a slice between two key slices is expected to show.

        Each shape is stretched with its box to the interpolated one; their distances
        from the edge are averaged by nearness (Raya and Udupa 1990), and so is what
        greys say.

        Returns
        -------
        (Y, X) float32, (Y, X) float32
            Signed distance from the expected edge, and what each pixel's grey says, in
            the working frame. None beside and beyond the keys, and where the mask of
            one of the two is empty.
        """
        around = keys_around(self.keys, slice_index)
        if around is None:
            return None
        pair = [self._shape(key) for key in around]
        if pair[0] is None or pair[1] is None:
            return None
        first, last = around[0].slice_index, around[1].slice_index
        share = (slice_index - first) / (last - first)
        box = interpolate(self.keys, slice_index)
        below, above = (self._stretched(shape, box) for shape in pair if shape)
        greys = (1 - share) * pair[0].greys + share * pair[1].greys
        distance = (1 - share) * below + share * above
        return distance, greys[self.slices.image(slice_index)]

    def _shape(self, key: KeyBox) -> KeyShape | None:
        place = key.slice_index
        if place not in self._known:
            mask = self._mask_of(key)
            self._known[place] = (
                KeyShape(
                    key,
                    signed_distance(mask),
                    grey_table(self.slices.image(place), mask),
                )
                if mask.any()
                else None
            )
        return self._known[place]

    def _stretched(self, shape: KeyShape, box: Box2D) -> NDArray[np.float32]:
        """Return a shape's distances, moved and stretched from its box to another."""
        rows, columns = self.slices.frame.shape
        across = columns / self.slices.frame.width
        down = rows / self.slices.frame.height
        own = shape.key.box
        wide = (own.x_max - own.x_min) / (box.x_max - box.x_min)
        high = (own.y_max - own.y_min) / (box.y_max - box.y_min)
        # Pixel centres lie half a pixel inside the sides that boxes count from.
        left = (own.x_min - wide * box.x_min) * across + (wide - 1) / 2
        top = (own.y_min - high * box.y_min) * down + (high - 1) / 2
        found = cv2.warpAffine(
            shape.distance,
            np.array([[wide, 0, left], [0, high, top]], np.float32),
            (columns, rows),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(found, np.float32)
