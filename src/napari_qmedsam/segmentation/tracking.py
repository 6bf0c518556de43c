"""Objects tracked from slice to slice, every slice encoded exactly once."""

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.preprocessing import SliceGeometry, is_blank
from napari_qmedsam.prompts import KeyBox, Piece, Point
from napari_qmedsam.segmentation.early_stop import EarlyStop
from napari_qmedsam.segmentation.endings import ObjectEnd
from napari_qmedsam.segmentation.evidence import WorkingSlices
from napari_qmedsam.segmentation.key_shapes import KeyShapes
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.segmenter import InputBox, InputPoint, SliceSegmenter
from napari_qmedsam.segmentation.track import Sweep
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


@dataclass(frozen=True)
class SliceUpdate:
    """What one visit of a slice gave.

    Parameters
    ----------
    slice_index : int
    masks : tuple of (index, mask)
        Index into the prompts, and the (Y, X) mask.
    done, total : int
        Visits made and planned.
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


def sweep_slices(tracks: Sweep) -> list[int]:
    """Return the slices that a sweep visits, in its order."""
    slices = {z for track in tracks for z in track.slices}
    return sorted(slices, reverse=any(track.slices.step < 0 for track in tracks))


def track_objects(
    segmenter: SliceSegmenter,
    volume: Volume,
    sweeps: Sequence[Sweep],
    window: Window,
    stop: EarlyStop | None = None,
    tighten: bool = False,
) -> Generator[SliceUpdate, None, None]:
    """Segment the slices of sweeps, one sweep after the other.

    A slice that several sweeps visit is held in the store of embeddings, so that
    it is not encoded again.

    Parameters
    ----------
    segmenter : SliceSegmenter
    volume : Volume
        As seen along the axis of the prompts.
    sweeps : sequence of sequences of Track
        Each with a track per prompt, in the order of the indices in updates.
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
    stop = EarlyStop() if stop is None else stop
    geometry = segmenter.geometry(volume)
    slices = WorkingSlices(volume, window)
    frame = slices.frame
    visits = [(z, tracks) for tracks in sweeps for z in sweep_slices(tracks)]
    to_come = Counter(z for z, _ in visits)
    nothing = np.zeros(volume.shape[1:], bool)
    held: dict[int, str] = {}

    def embedding_of(slice_index: int) -> NDArray[np.float32]:
        key, embedding = segmenter.embed(volume, slice_index, window)
        if to_come[slice_index] and slice_index not in held:
            segmenter.store.hold(key)
            held[slice_index] = key
        return embedding

    def key_mask(prompt: ObjectPrompt, key: KeyBox) -> NDArray[np.bool_]:
        if is_blank(volume.array, key.slice_index):
            return np.zeros(frame.shape, bool)
        points = input_points(geometry, prompt.clicks_on(key.slice_index))
        box = geometry.box_to_input(key.box)
        (answer,) = segmenter.decode(embedding_of(key.slice_index), [box], [points])
        return geometry.logits_on(answer, *frame.shape) > 0

    for track in (track for tracks in sweeps for track in tracks):
        if not track.follows_mask and len(track.prompt.keys) > 1:
            of_key = partial(key_mask, track.prompt)
            track.shapes = KeyShapes(slices, track.prompt.keys, of_key)
    try:
        for done, (slice_index, tracks) in enumerate(visits, 1):
            check_cancelled()
            to_come[slice_index] -= 1
            if all(track.is_over(slice_index) for track in tracks):
                continue
            here = {i: t for i, t in enumerate(tracks) if slice_index in t.slices}
            before = {i: track.ended for i, track in here.items()}
            wanted: dict[int, InputBox] = {}
            found: dict[int, NDArray[np.bool_]] = {}
            for i, track in here.items():
                if track.propagated is not None and not track.has_ended:
                    propagated = track.propagated
                    propagated.expect(
                        slices.motion(propagated.slice_index, slice_index)
                    )
                box = track.next_box(slice_index, geometry)
                if box is not None:
                    wanted[i] = box
                elif track.prompt.reaches(slice_index):
                    # Labels from an earlier run would stay there otherwise.
                    found[i] = nothing
            if wanted and is_blank(volume.array, slice_index):
                # Padding, or a slice that was never filled: models answer anyway.
                for i in wanted:
                    here[i].take_nothing(slice_index, nothing)
                    found[i] = nothing
            elif wanted:
                embedding = embedding_of(slice_index)
                asked = [here[i].prompt.clicks_on(slice_index) for i in wanted]
                points = [input_points(geometry, p) for p in asked]
                logits = segmenter.decode(embedding, list(wanted.values()), points)
                for i, answer in zip(wanted, logits, strict=True):
                    if here[i].propagated is None:
                        image = slices.image(slice_index) if tighten else None
                        found[i] = here[i].shaped(slice_index, answer, geometry, image)
                        here[i].take(slice_index, found[i])
                        continue
                    found[i] = here[i].take_evidence(
                        slice_index,
                        slices.image(slice_index),
                        geometry.logits_on(answer, *frame.shape),
                        stop,
                    )
                for i in wanted:
                    pieces = here[i].prompt.pieces_on(slice_index)
                    if pieces and not here[i].has_ended:
                        boxes = [geometry.box_to_input(piece.box) for piece in pieces]
                        logits = segmenter.decode(embedding, boxes)
                        extra = geometry.logits_to_masks(logits)
                        found[i] = with_pieces(found[i], pieces, extra)
                        here[i].correct(found[i])
            if not to_come[slice_index] and slice_index in held:
                segmenter.store.release(held.pop(slice_index))
            given = tuple(sorted(found.items()))
            axis = tracks[0].prompt.axis
            ends = (
                track.end_on(slice_index, volume.shape[0], before[i])
                for i, track in here.items()
            )
            yield SliceUpdate(
                slice_index,
                given,
                done,
                len(visits),
                axis,
                tuple(tracks[i].prompt.object_id for i, m in given if m.any()),
                tuple(end for end in ends if end is not None),
            )
    finally:
        for key in held.values():
            segmenter.store.release(key)


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


def input_points(
    geometry: SliceGeometry, points: Sequence[Point]
) -> tuple[InputPoint, ...]:
    """Return points as the model takes them."""
    return tuple(
        (*geometry.point_to_input(point.x, point.y), float(point.is_positive))
        for point in points
    )
