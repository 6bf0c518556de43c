"""Objects tracked from slice to slice, every slice encoded exactly once."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.preprocessing import is_blank
from napari_qmedsam.prompts import Box2D, KeyBox, Piece, Point
from napari_qmedsam.segmentation.early_stop import EarlyStop
from napari_qmedsam.segmentation.endings import ObjectEnd
from napari_qmedsam.segmentation.evidence import WorkingSlices
from napari_qmedsam.segmentation.field_of_view import FieldOfView, ModelPrompt
from napari_qmedsam.segmentation.key_shapes import KeyShapes
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.propagated_object import (
    LEAST_WIDER,
    WIDER,
    PropagatedObject,
    learn_margins,
)
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.segmentation.track import Sweep, Track, plan_visits
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


@dataclass(frozen=True)
class SliceUpdate:
    """What one visit of a slice gave.

    Parameters
    ----------
    slice_index : int
    masks : tuple of (index, mask)
        Index into the prompts, and the (Y, X) mask; none of scouts.
    done, total : int
        Slices that have their last masks, and all that are to get some: each counts
        once, however often it is visited.
    axis : int
        Array axis of the volume that the slice lies across.
    found : tuple of int
        Ids of the objects whose mask is not empty.
    ends : tuple of ObjectEnd
        Objects that are tracked no further, and why.
    """

    slice_index: int
    masks: tuple[tuple[int, NDArray[np.bool_]], ...]
    done: int
    total: int
    axis: int = 0
    found: tuple[int, ...] = ()
    ends: tuple[ObjectEnd, ...] = ()


def track_objects(
    segmenter: SliceSegmenter,
    volume: Volume,
    sweeps: Sequence[Sweep],
    window: Window,
    stop: EarlyStop | None = None,
    tighten: bool = False,
) -> Generator[SliceUpdate, None, None]:
    """Segment the slices of sweeps, in the order of :func:`plan_visits`.

    A slice that several sweeps visit is held in the store of embeddings, so that
    it is not encoded again.

    Parameters
    ----------
    segmenter : SliceSegmenter
    volume : Volume
        As seen along the axis of the prompts.
    sweeps : sequence of sequences of Track
        Each with a track per prompt, in the order of the indices in updates; scouts,
        which give no masks, in any.
    window : Window
    stop : EarlyStop, optional
        When objects that are propagated count as ended. Default: `EarlyStop()`.
    tighten : bool
        Look again at drawn boxes, as
        :func:`~napari_qmedsam.segmentation.propagated_object.tightened` does.

    Raises
    ------
    Cancelled
        If the work is not wanted any more; what was given so far is whole.
    """
    visits = plan_visits(sweeps)
    stop = EarlyStop() if stop is None else stop
    walk = _Walk(segmenter, volume, window, stop, tighten)
    walk.to_come.update(z for z, _ in visits)
    for track in (track for tracks in sweeps for track in tracks):
        if not track.follows_mask and len(track.prompt.keys) > 1:
            of_key = partial(walk.key_mask, track.prompt)
            track.shapes = KeyShapes(walk.slices, track.prompt.keys, of_key)
        if track.is_scout:
            track.propagated = walk.before_first_key(track)
    try:
        done, total = 0, len(walk.to_come)
        for slice_index, tracks in visits:
            check_cancelled()
            update = walk.visit(slice_index, tracks)
            done += not walk.to_come[slice_index]
            if update is not None:
                yield replace(update, done=done, total=total)
    finally:
        walk.release(*walk.held)


class _Walk:
    """The way through the slices: what each is asked, and what is held for later."""

    def __init__(
        self,
        segmenter: SliceSegmenter,
        volume: Volume,
        window: Window,
        stop: EarlyStop,
        tighten: bool,
    ) -> None:
        self.segmenter, self.volume, self.window = segmenter, volume, window
        self.stop, self.tighten = stop, tighten
        # Between key boxes an object goes on, however it looks there.
        self.stop_between = replace(stop, least_log_odds=-np.inf)
        self.slices = WorkingSlices(volume, window)
        self.to_come: Counter[int] = Counter()
        """Visits that are still to be made, by slice."""
        self.held: dict[int, set[str]] = {}
        """Keys of embeddings that a later visit needs, by slice."""

    def view_of(self, box: Box2D | None, points: Sequence[Point] = ()) -> FieldOfView:
        """Return what is shown of a slice for a box; all of it for a second look."""
        if self.tighten:
            return self.segmenter.view(self.volume)
        return self.segmenter.view(self.volume, box, points)

    def embedding_of(
        self, slice_index: int, view: FieldOfView
    ) -> NDArray[np.float32] | None:
        """Return what a slice shows, held if it is visited again; None for nothing."""
        if self.segmenter.shows_nothing(self.volume, slice_index, view):
            return None
        key, embedding = self.segmenter.embed(
            self.volume, slice_index, self.window, view
        )
        if self.to_come[slice_index]:
            held = self.held.setdefault(slice_index, set())
            if key not in held:
                self.segmenter.store.hold(key)
                held.add(key)
        return embedding

    def answers(
        self, slice_index: int, prompts: Sequence[ModelPrompt]
    ) -> NDArray[np.float32]:
        """Return the low-res logits of what is asked of a slice."""
        return self.segmenter.answers(prompts, partial(self.embedding_of, slice_index))

    def release(self, *slices: int) -> None:
        """Let the store drop what was held of these slices."""
        for slice_index in slices:
            for key in self.held.pop(slice_index):
                self.segmenter.store.release(key)

    def key_mask(self, prompt: ObjectPrompt, key: KeyBox) -> NDArray[np.bool_]:
        """Return the mask of a key box, in the working frame."""
        shape = self.slices.frame.shape
        if is_blank(self.volume.array, key.slice_index):
            return np.zeros(shape, bool)
        points = prompt.clicks_on(key.slice_index)
        view = self.view_of(key.box, points)
        box, clicks = view.box_to_input(key.box), view.points_to_input(points)
        (answer,) = self.answers(key.slice_index, [ModelPrompt(view, box, clicks)])
        return view.logits_on(answer, *shape) > 0

    def before_first_key(self, scout: Track) -> PropagatedObject:
        """Return an object without a mask, which its first key box will give it."""
        frame = self.slices.frame
        blank = np.zeros(frame.shape, np.uint8)
        return PropagatedObject(frame, scout.slices[0], blank, blank > 0)

    def visit(self, slice_index: int, tracks: Sweep) -> SliceUpdate | None:
        """Take the tracks of a sweep over a slice; None where all of them are over."""
        self.to_come[slice_index] -= 1
        if all(track.is_over(slice_index) for track in tracks):
            return None
        here = {i: t for i, t in enumerate(tracks) if slice_index in t.slices}
        before = {i: track.ended for i, track in here.items()}
        masks = sorted(self._masks(slice_index, here).items())
        given = tuple((i, mask) for i, mask in masks if not here[i].is_scout)
        if not self.to_come[slice_index] and slice_index in self.held:
            self.release(slice_index)
        depth = self.volume.shape[0]
        ends = (
            track.end_on(slice_index, depth, before[i])
            for i, track in here.items()
            if not track.is_scout
        )
        return SliceUpdate(
            slice_index,
            given,
            done=0,
            total=0,
            axis=tracks[0].prompt.axis,
            found=tuple(tracks[i].prompt.object_id for i, m in given if m.any()),
            ends=tuple(end for end in ends if end is not None),
        )

    def _masks(
        self, slice_index: int, here: Mapping[int, Track]
    ) -> dict[int, NDArray[np.bool_]]:
        """Return the masks of the tracks that have something to say of a slice."""
        wanted: dict[int, ModelPrompt] = {}
        found: dict[int, NDArray[np.bool_]] = {}
        nothing = np.zeros(self.volume.shape[1:], bool)
        for i, track in here.items():
            is_key = track.prompt.is_key(slice_index)
            if track.propagated is not None and not (track.has_ended or is_key):
                was = track.propagated.slice_index
                track.propagated.expect(self.slices.motion(was, slice_index))
            prompt = track.next_prompt(slice_index, self.view_of)
            if prompt is not None:
                wanted[i] = prompt
            elif track.prompt.reaches(slice_index):
                # Labels from an earlier run would stay there otherwise.
                found[i] = nothing
        if wanted and is_blank(self.volume.array, slice_index):
            # Padding, or a slice that was never filled: models answer anyway.
            for i in wanted:
                here[i].take_nothing(slice_index, nothing)
                found[i] = nothing
        elif wanted:
            found |= self._answers(slice_index, here, wanted)
        return found

    def _answers(
        self,
        slice_index: int,
        here: Mapping[int, Track],
        wanted: dict[int, ModelPrompt],
    ) -> dict[int, NDArray[np.bool_]]:
        """Ask the model for boxes on a slice, and go on with what it says."""
        found: dict[int, NDArray[np.bool_]] = {}
        wider = {
            i: prompt.widened(WIDER, LEAST_WIDER)
            for i, prompt in wanted.items()
            if here[i].may_grow(slice_index)
        }
        logits = self.answers(slice_index, [*wanted.values(), *wider.values()])
        grown = dict(zip(wider, logits[len(wanted) :], strict=True))
        shape = self.slices.frame.shape
        for (i, prompt), answer in zip(wanted.items(), logits, strict=False):
            track, view = here[i], prompt.view
            if track.propagated is None:
                image = self.slices.image(slice_index) if self.tighten else None
                found[i] = track.shaped(slice_index, answer, view, image)
                track.take(slice_index, found[i])
                continue
            found[i] = track.take_evidence(
                slice_index,
                self.slices.image(slice_index),
                view.logits_on(answer, *shape),
                self.stop_between if track.is_scout else self.stop,
                view.logits_on(grown[i], *shape) if i in grown else None,
            )
        fresh = [here[i] for i in wanted if here[i].is_scout]
        fresh = [track for track in fresh if track.prompt.is_key(slice_index)]
        starting = [track.propagated for track in fresh if track.propagated]
        if starting:
            embedding_of = partial(self.embedding_of, slice_index)
            whole = self.view_of(None)
            learn_margins(self.segmenter, lambda box: whole, embedding_of, starting)
        for i in wanted:
            pieces = here[i].prompt.pieces_on(slice_index)
            if pieces and not here[i].has_ended:
                views = [self.view_of(piece.box) for piece in pieces]
                asked = [
                    ModelPrompt(view, view.box_to_input(piece.box))
                    for view, piece in zip(views, pieces, strict=True)
                ]
                extra = self.answers(slice_index, asked)
                masks = [
                    view.logits_to_masks(answer[None])[0]
                    for view, answer in zip(views, extra, strict=True)
                ]
                found[i] = with_pieces(found[i], pieces, np.stack(masks))
                here[i].correct(found[i])
        return found


def with_pieces(
    mask: NDArray[np.bool_], pieces: Sequence[Piece], masks: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return a mask with what further boxes gave, without what others took away.

    Parameters
    ----------
    mask : ndarray, (Y, X) bool
    pieces : sequence of Piece
    masks : ndarray, (n, Y, X) bool
        What each of them gave.
    """
    takes = np.array([piece.takes_away for piece in pieces])
    return (mask | masks[~takes].any(axis=0)) & ~masks[takes].any(axis=0)
