"""One object on its way through the slices, in one direction."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import merge
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.prompts import Box2D, Point
from napari_qmedsam.segmentation.early_stop import EarlyStop
from napari_qmedsam.segmentation.endings import EndReason, ObjectEnd
from napari_qmedsam.segmentation.evidence import WorkingFrame, edge_contrast
from napari_qmedsam.segmentation.field_of_view import FieldOfView, ModelPrompt
from napari_qmedsam.segmentation.key_shapes import KeyShapes
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.propagated_object import (
    PropagatedObject,
    tightened,
    weigh,
)
from napari_qmedsam.segmentation.votes import OWN_SHARE, Votes

MOST_GROWING = 3
"""Key boxes of an object up to which ways between them may grow: among more of them
the size is known, and growing only leaks."""


@dataclass
class Track:
    """One object on its way through the slices, in one direction.

    Parameters
    ----------
    prompt : ObjectPrompt
    slices : range
        Where it may go, in the order of the way.
    follows_mask : bool
        Whether each slice is prompted by the box of its neighbour's mask. A key
        box is the user's word, wherever the mask before it went; if False, so is
        every box.
    mask : ndarray, (Y, X) bool, optional
        That of the neighbour; without one a slice is prompted by its drawn box.
    propagated : PropagatedObject, optional
        Where the object is and what it looks like; with it, motion, shape and greys
        have a say in its masks, and in where it ends.
    shapes : KeyShapes, optional
        What slices between the object's key boxes are expected to show.
    twin : Track, optional
        The way in the other direction, which begins with this one's first mask.
    votes : Votes, optional
        What ways from key box to key box found, for the slices between.
    is_scout : bool
        Whether this is such a way: it gives no masks, but votes.
    """

    prompt: ObjectPrompt
    slices: range
    follows_mask: bool = True
    mask: NDArray[np.bool_] | None = None
    propagated: PropagatedObject | None = None
    shapes: KeyShapes | None = None
    twin: "Track | None" = None
    votes: Votes | None = None
    is_scout: bool = False
    ended: EndReason | None = None
    """Why there is nothing more of it, until a key box takes it up again."""
    ended_on: int = 0
    """The first slice without it."""

    @property
    def has_ended(self) -> bool:
        """Whether the object ended on the way."""
        return self.ended is not None

    def is_over(self, slice_index: int) -> bool:
        """Tell whether nothing is to be said of the object from this slice on."""
        if slice_index not in self.slices:
            return True
        # What an ended object had before must go from the rest of its box, and it
        # may have a key box further on.
        return self.has_ended and not self.prompt.reaches(slice_index)

    def may_grow(self, slice_index: int) -> bool:
        """Tell whether a wider box is asked too: on ways between few key boxes."""
        if not self.is_scout or self.prompt.is_key(slice_index):
            return False
        return len(self.prompt.keys) <= MOST_GROWING

    def next_prompt(self, slice_index: int, view_of: "ViewOf") -> ModelPrompt | None:
        """Return what is asked of a slice; None where the object has ended."""
        if self.prompt.is_absent(slice_index):
            if self.follows_mask and not self.has_ended:
                self._end(EndReason.SAID_ABSENT, slice_index)
            return None
        points = self.prompt.clicks_on(slice_index)
        drawn = self.prompt.box_on(slice_index)
        margin, follows = 0.0, None
        if not self.follows_mask or self.prompt.is_key(slice_index):
            self.ended = None
            box: Box2D | None = drawn
        elif self.has_ended:
            return None
        elif self.propagated is not None:
            box, margin = self.propagated.box(), self.propagated.margin
        elif self.mask is not None:
            follows, box = self.mask, Box2D.around(self.mask)
        else:
            box = drawn
        # Between key boxes a box is a guess that may be far too small. In a tile, which
        # a model follows closer, an object would not grow again from its tips.
        is_between = self.shapes is not None and not self.prompt.is_key(slice_index)
        view = view_of(None if is_between or self.is_scout else box, points)
        asked = None
        if follows is not None:
            asked = view.mask_to_input_box(follows)
        elif box is not None:
            asked = view.box_to_input(box, margin)
        if asked is None:
            self._end(EndReason.OBJECT_END, slice_index - self.slices.step)
            return None
        return ModelPrompt(view, asked, view.points_to_input(points))

    def end_on(
        self, slice_index: int, depth: int, was: EndReason | None
    ) -> ObjectEnd | None:
        """Return why nothing comes after a slice, None where something may.

        Parameters
        ----------
        slice_index : int
            That was visited.
        depth : int
            Slices of the volume.
        was : EndReason or None
            Why it had ended before that visit.
        """
        reason = self.ended
        if reason is None and slice_index == self.slices[-1]:
            is_edge = slice_index == (depth - 1 if self.slices.step > 0 else 0)
            goes_on = self.follows_mask and not self.prompt.reaches(slice_index)
            reason = EndReason.SCAN_END if is_edge and goes_on else EndReason.BOX_END
        elif reason is was:
            return None
        if reason is None:
            return None
        place = self.ended_on if self.has_ended else slice_index
        return ObjectEnd(self.prompt.object_id, reason, place, self.slices.step)

    def _end(self, reason: EndReason, slice_index: int) -> None:
        self.ended, self.ended_on = reason, slice_index

    def take(self, slice_index: int, mask: NDArray[np.bool_]) -> None:
        """Go on to a slice with its mask."""
        # A copy: the mask of one box may be part of those of all boxes of its slice.
        self.mask = mask.copy()
        if self.twin is not None and slice_index == self.slices[0]:
            self.twin.mask = self.mask

    def shaped(
        self,
        slice_index: int,
        logits: NDArray[np.float32],
        view: FieldOfView,
        image: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.bool_]:
        """Return the (Y, X) mask of a model's (L, L) answer to a box.

        Between key boxes the shape and the greys that are expected have a say in it,
        and what the ways from both of them found.
        With an image, in the working frame, a mask of a drawn box is tightened.
        """
        expected = None if self.shapes is None else self.shapes.expected(slice_index)
        votes = None if self.votes is None else self.votes.on(slice_index)
        if self.shapes is not None and not (expected is None and votes is None):
            frame = self.shapes.slices.frame
            answer = view.logits_on(logits, *frame.shape)
            score = np.tanh(answer) if expected is None else weigh(answer, *expected)
            return frame.whole_mask(
                score if votes is None else votes + OWN_SHARE * score
            )
        is_drawn = self.mask is None or not self.follows_mask
        if image is not None and is_drawn:
            frame = WorkingFrame(view.height, view.width)
            answer = view.logits_on(logits, *frame.shape)
            return frame.whole_mask(tightened(answer, image))
        (mask,) = view.logits_to_masks(logits[None])
        return mask

    def correct(self, mask: NDArray[np.bool_]) -> None:
        """Go on from where it is with another (Y, X) mask."""
        self.mask = mask
        if self.propagated is not None:
            self.propagated.mask = self.propagated.frame.mask(mask)

    def take_nothing(self, slice_index: int, nothing: NDArray[np.bool_]) -> None:
        """Go on to a slice without any object."""
        self.take(slice_index, nothing)
        if self.propagated is not None:
            self._end(EndReason.OBJECT_END, slice_index)

    def take_evidence(
        self,
        slice_index: int,
        image: NDArray[np.uint8],
        logits: NDArray[np.floating],
        stop: EarlyStop,
        wider: NDArray[np.floating] | None = None,
    ) -> NDArray[np.bool_]:
        """Go on to a slice with what a model and the slice say; return the mask.

        Parameters
        ----------
        slice_index : int
        image : ndarray, (Y, X) uint8
            The slice, in the frame of `propagated`.
        logits : ndarray, (Y, X) float
            In that frame.
        stop : EarlyStop
        wider : ndarray, (Y, X) float, optional
            What the model says of a wider box, in that frame.

        Returns
        -------
        ndarray, (Y, X) bool
            On the pixels of the volume's slices; empty where the object has ended.
        """
        assert self.propagated is not None
        frame = self.propagated.frame
        if self.prompt.is_key(slice_index):
            mask = logits > 0
            self.propagated.restart(slice_index, image, mask)
            return frame.whole_mask(logits)
        score, why = self.propagated.take(slice_index, image, logits, stop, wider)
        if why is not None:
            self._end(why, slice_index)
            return np.zeros((frame.height, frame.width), bool)
        if self.votes is not None:
            clear = edge_contrast(image, score > 0)
            self.votes.add(slice_index, score, clear**2)
        return frame.whole_mask(score)


ViewOf = Callable[[Box2D | None, Sequence[Point]], FieldOfView]
"""Returns what is shown of a slice for a box and its points; all without a box."""

Sweep = Sequence[Track]
"""Tracks that go through the slices together; slices of one share embeddings."""


def plan_visits(sweeps: Sequence[Sweep]) -> list[tuple[int, Sweep]]:
    """Return which slice is visited by which sweep, in order.

    One sweep after the other. Only the last, which makes the masks between key boxes,
    goes along with the scouts before it: a slice is done once they have come there.
    """
    planned = [_visits(tracks) for tracks in sweeps]
    if len(planned) > 1 and all(track.is_scout for track in sweeps[-2]):
        planned[-2:] = [merge(*planned[-2:], key=itemgetter(0))]
    return [visit for visits in planned for visit in visits]


def _visits(tracks: Sweep) -> Iterable[tuple[int, Sweep]]:
    slices = {z for track in tracks for z in track.slices}
    is_down = any(track.slices.step < 0 for track in tracks)
    return [(z, tracks) for z in sorted(slices, reverse=is_down)]
