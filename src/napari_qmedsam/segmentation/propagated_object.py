"""An object propagated from slice to slice: where it is expected, and what it becomes.

A model that is shown a box finds something in it on any slice, and its small errors add
up where each mask makes the next box. So its answer is one of three: the mask before,
moved along with the slice, and the greys of the object against those around it speak
for each pixel as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.overlap import dice
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.segmentation.early_stop import EarlyStop
from napari_qmedsam.segmentation.endings import EndReason
from napari_qmedsam.segmentation.evidence import (
    WorkingFrame,
    grey_table,
    moved,
    shape_evidence,
    signed_distance,
)
from napari_qmedsam.segmentation.segmenter import InputBox, SliceSegmenter

MARGINS = (0, 1, 2, 3)
"""Pixels of the model input by which a box around an expected mask may be widened."""

FIRST_SHARE = 0.7
"""Of the greys where the way began, in what counts as the object's; the rest is that
of the slice before."""


def weigh(
    logits: NDArray[np.floating],
    distance: NDArray[np.float32],
    greys: NDArray[np.float32],
) -> NDArray[np.floating]:
    """Return the score of each pixel; it belongs to the object above 0.

    Model, shape and greys have a voice each, from -1 to 1.

    Parameters
    ----------
    logits : ndarray, (Y, X) float
        Of the model.
    distance : ndarray, (Y, X) float32
        Signed distance from the edge of the shape that is expected.
    greys : ndarray, (Y, X) float32
        What each pixel's grey says.
    """
    return np.tanh(logits) + shape_evidence(distance) + greys


def tightened(
    logits: NDArray[np.floating], image: NDArray[np.uint8]
) -> NDArray[np.floating]:
    """Return the score of each pixel on a second look at a model's answer to a box.

    The mask itself is the shape that is expected, its greys and those of a ring around
    it are compared: a side of a careless box that cuts the object, or leaves it room,
    moves the edge of the mask, and greys move it back.

    Parameters
    ----------
    logits : ndarray, (Y, X) float
        Of the model, in the working frame.
    image : ndarray, (Y, X) uint8
        The slice, in that frame.
    """
    mask = logits > 0
    if not mask.any():
        return logits
    return weigh(logits, signed_distance(mask), grey_table(image, mask)[image])


@dataclass
class PropagatedObject:
    """One object on its way in one direction.

    Parameters
    ----------
    frame : WorkingFrame
    slice_index : int
        Where it is.
    image : ndarray, (Y, X) uint8
        That slice, in the frame.
    mask : ndarray, (Y, X) bool
        The object on it, in the frame.
    margin : float
        Pixels of the model input by which boxes are widened.
    """

    frame: WorkingFrame
    slice_index: int
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    margin: float = 0.0
    expected: NDArray[np.bool_] = field(init=False)
    """The mask on the next slice, if it only moves along."""

    def __post_init__(self) -> None:
        self.restart(self.slice_index, self.image, self.mask)

    def restart(
        self, slice_index: int, image: NDArray[np.uint8], mask: NDArray[np.bool_]
    ) -> None:
        """Begin anew from a slice whose mask is the user's word."""
        self.slice_index, self.image, self.mask = slice_index, image, mask
        self.expected = mask
        self.largest = int(np.count_nonzero(mask))
        self.first_greys = grey_table(image, mask)

    def expect(self, motion: NDArray[np.float32]) -> None:
        """Say where the object is on the next slice, by how that has moved."""
        there = moved(self.mask, motion)
        self.expected = there if there.any() else self.mask

    def box(self, geometry: SliceGeometry) -> InputBox | None:
        """Return the box that prompts the next slice; None for an empty mask."""
        box = self.frame.whole_box(self.expected)
        return None if box is None else widened(geometry, box, self.margin)

    def take(
        self,
        slice_index: int,
        image: NDArray[np.uint8],
        logits: NDArray[np.floating],
        stop: EarlyStop,
    ) -> tuple[NDArray[np.floating], EndReason | None]:
        """Go on to the next slice.

        Parameters
        ----------
        slice_index : int
        image : ndarray, (Y, X) uint8
            That slice, in the frame.
        logits : ndarray, (Y, X) float
            The model's answer, in the frame.
        stop : EarlyStop

        Returns
        -------
        ndarray, (Y, X) float
            Score of each pixel, as :func:`weigh` gives it.
        EndReason or None
            Why the object ends before this slice, if it does.
        """
        last = grey_table(self.image, self.mask)
        table = FIRST_SHARE * self.first_greys + (1 - FIRST_SHARE) * last
        greys = table[image]
        score = weigh(logits, signed_distance(self.expected), greys)
        mask = score > 0
        support = float(greys[self.expected].mean())
        why = stop.why_ended(mask, self.expected, self.largest, support)
        if why is None:
            self.slice_index, self.image, self.mask = slice_index, image, mask
            self.largest = max(self.largest, int(np.count_nonzero(mask)))
        return score, why


def widened(geometry: SliceGeometry, box: Box2D, margin: float) -> InputBox:
    """Return a box in the model input, wider by so many of its pixels."""
    x_min, y_min, x_max, y_max = geometry.box_to_input(box)
    side = geometry.input_size
    return (
        max(x_min - margin, 0.0),
        max(y_min - margin, 0.0),
        min(x_max + margin, float(side)),
        min(y_max + margin, float(side)),
    )


def learn_margins(
    segmenter: SliceSegmenter,
    geometry: SliceGeometry,
    embedding: NDArray[np.float32],
    objects: Sequence[PropagatedObject],
) -> None:
    """Give objects the margin with which the model answers with their own mask.

    Models differ: one that paints less than its box would make objects smaller from
    slice to slice, were the next box as tight as the mask.

    Parameters
    ----------
    segmenter : SliceSegmenter
    geometry : SliceGeometry
    embedding : ndarray
        Of the slice that all objects are on.
    objects : sequence of PropagatedObject
        Changed in place.
    """
    asked = [o for o in objects if o.mask.any()]
    boxes = [
        widened(geometry, box, margin)
        for o in asked
        if (box := o.frame.whole_box(o.mask)) is not None
        for margin in MARGINS
    ]
    if not boxes:
        return
    logits = segmenter.decode(embedding, boxes)
    for place, o in enumerate(asked):
        own = logits[place * len(MARGINS) : (place + 1) * len(MARGINS)]
        overlaps = [
            dice(geometry.logits_on(one, *o.frame.shape) > 0, o.mask) for one in own
        ]
        o.margin = float(MARGINS[int(np.argmax(overlaps))])
