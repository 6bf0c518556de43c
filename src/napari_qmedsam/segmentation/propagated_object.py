"""An object propagated from slice to slice: where it is expected, and what it becomes.

A model that is shown a box finds something in it on any slice, and its small errors add
up where each mask makes the next box. So its answer is one of three: the mask before,
moved along with the slice, and the greys of the object against those around it speak
for each pixel as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.overlap import dice
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.segmentation.early_stop import EarlyStop, Signs
from napari_qmedsam.segmentation.endings import EndReason
from napari_qmedsam.segmentation.evidence import (
    WorkingFrame,
    edge_contrast,
    grey_table,
    moved,
    shape_evidence,
    signed_distance,
)
from napari_qmedsam.segmentation.field_of_view import FieldOfView, ModelPrompt
from napari_qmedsam.segmentation.segmenter import SliceSegmenter

MARGINS = (0, 1, 2, 3)
"""Pixels of the model input by which a box around an expected mask may be widened."""

EDGE_NOISE = 1.0
"""Grey levels added to the contrast that edges are compared with."""

GREY_NOISE = 5.0
"""Grey levels added to the spread of greys that their shift is measured in."""

WIDER = 0.15
"""Of a box's width and height, by which each side goes out for an object to grow."""

LEAST_WIDER = 2.0
"""Pixels of the model input; a side never goes out by less."""

LEAST_ADDED = 0.3
"""What the greys of added pixels must say for the object, on average."""

CLEARER = 1.1
"""How many times clearer the outline of a grown mask must be."""

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
        self.first_edge = edge_contrast(image, mask)
        inside = image[mask] if mask.any() else np.zeros(1)
        self.first_grey = float(inside.mean()), float(inside.std())

    def expect(self, motion: NDArray[np.float32]) -> None:
        """Say where the object is on the next slice, by how that has moved."""
        there = moved(self.mask, motion)
        self.expected = there if there.any() else self.mask

    def box(self) -> Box2D | None:
        """Return the box that is expected on the next slice; None for an empty mask."""
        return self.frame.whole_box(self.expected)

    def greys(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what each pixel's grey on the next slice says, from -1 to 1."""
        last = grey_table(self.image, self.mask)
        table = FIRST_SHARE * self.first_greys + (1 - FIRST_SHARE) * last
        return np.asarray(table[image], np.float32)

    def signs(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[np.bool_],
        greys: NDArray[np.float32],
    ) -> Signs:
        """Return what the next slice shows of the object, given its mask there."""
        grey, spread = self.first_grey
        found = float(image[mask].mean()) if mask.any() else grey
        return Signs(
            support=float(greys[self.expected].mean()),
            area=np.count_nonzero(mask) / max(self.largest, 1),
            edge=edge_contrast(image, self.expected) / (self.first_edge + EDGE_NOISE),
            grey_shift=abs(found - grey) / (spread + GREY_NOISE),
        )

    def choose(
        self,
        image: NDArray[np.uint8],
        logits: NDArray[np.floating],
        wider: NDArray[np.floating],
        greys: NDArray[np.float32],
    ) -> NDArray[np.floating]:
        """Return the better of two answers on the next slice, one to a wider box.

        On the tip of an object its box is far too small for the next slice. The wider
        one is right where it adds greys of the object, and where its outline follows
        an edge that the other cuts short.

        Parameters
        ----------
        image : ndarray, (Y, X) uint8
            That slice, in the frame.
        logits, wider : ndarray, (Y, X) float
            In the frame.
        greys : ndarray, (Y, X) float32
            Of :meth:`greys`.
        """
        mask, grown = logits > 0, wider > 0
        added = grown & ~mask
        if not added.any() or greys[added].mean() < LEAST_ADDED:
            return logits
        clearer = edge_contrast(image, grown)
        if clearer < CLEARER * edge_contrast(image, mask):
            return logits
        self.expected = grown
        return wider

    def take(
        self,
        slice_index: int,
        image: NDArray[np.uint8],
        logits: NDArray[np.floating],
        stop: EarlyStop,
        wider: NDArray[np.floating] | None = None,
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
        wider : ndarray, (Y, X) float, optional
            The answer to a wider box, which may be the better one.

        Returns
        -------
        ndarray, (Y, X) float
            Score of each pixel, as :func:`weigh` gives it.
        EndReason or None
            Why the object ends before this slice, if it does.
        """
        greys = self.greys(image)
        if wider is not None:
            logits = self.choose(image, logits, wider, greys)
        score = weigh(logits, signed_distance(self.expected), greys)
        mask = score > 0
        why = stop.why_ended(mask, self.expected, self.signs(image, mask, greys))
        if why is None:
            self.slice_index, self.image, self.mask = slice_index, image, mask
            self.largest = max(self.largest, int(np.count_nonzero(mask)))
        return score, why


def learn_margins(
    segmenter: SliceSegmenter,
    view_of: Callable[[Box2D], FieldOfView],
    embedding_of: Callable[[FieldOfView], NDArray[np.float32] | None],
    objects: Sequence[PropagatedObject],
) -> None:
    """Give objects the margin with which the model answers with their own mask.

    Models differ: one that paints less than its box would make objects smaller from
    slice to slice, were the next box as tight as the mask.

    Parameters
    ----------
    segmenter : SliceSegmenter
    view_of : callable
        Returns what the next slices show for a box.
    embedding_of : callable
        Of the slice that all objects are on, as for :meth:`SliceSegmenter.answers`.
    objects : sequence of PropagatedObject
        Changed in place.
    """
    boxes = [(o, box) for o in objects if (box := o.frame.whole_box(o.mask))]
    prompts = []
    for _, box in boxes:
        view = view_of(box)
        prompts += [ModelPrompt(view, view.box_to_input(box, m)) for m in MARGINS]
    logits = segmenter.answers(prompts, embedding_of)
    for place, (o, _) in enumerate(boxes):
        first = place * len(MARGINS)
        view = prompts[first].view
        overlaps = [
            dice(view.logits_on(one, *o.frame.shape) > 0, o.mask)
            for one in logits[first : first + len(MARGINS)]
        ]
        o.margin = float(MARGINS[int(np.argmax(overlaps))])
