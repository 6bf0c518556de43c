"""Boxes over several slices to masks, every slice encoded exactly once.

The 3D boxes are first turned into a schedule per slice (QMedSAM, section 2.1),
so objects that cross a slice share its embedding.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.prompts import Box3D, Point
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.segmenter import (
    InputBox,
    InputPoint,
    SliceSegmenter,
)
from napari_qmedsam.volumes.reslicing import seen_along
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


class Propagation(str, Enum):
    """How a 3D box prompts the slices it covers."""

    BOX = "box"
    """The same box on every slice (QMedSAM)."""

    MASK = "mask"
    """From the middle outwards, each slice prompted by the box of its
    neighbour's mask (LiteMedSAM)."""


class OnEmpty(str, Enum):
    """What to do where a neighbour's mask is empty."""

    STOP = "stop"
    """The object ends there; the rest of its slices get empty masks."""

    BOX = "box"
    """Prompt the next slice with the drawn box again (LiteMedSAM)."""


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
    """

    slice_index: int
    masks: tuple[tuple[int, NDArray[np.bool_]], ...]
    done: int
    total: int
    axis: int = 0


def slice_schedule(boxes: Sequence[Box3D]) -> dict[int, list[int]]:
    """Return which boxes cross each slice, slices ascending."""
    schedule: dict[int, list[int]] = {}
    for index, box in enumerate(boxes):
        for slice_index in range(box.z_min, box.z_max):
            schedule.setdefault(slice_index, []).append(index)
    return dict(sorted(schedule.items()))


def segment_volume(
    segmenter: SliceSegmenter,
    volume: Volume,
    prompts: Sequence[ObjectPrompt],
    window: Window | None = None,
    propagation: Propagation = Propagation.BOX,
    on_empty: OnEmpty = OnEmpty.STOP,
) -> Generator[SliceUpdate, None, None]:
    """Segment 3D boxes slice by slice.

    A generator: stop asking and the work stops, with every mask given so far
    complete. Nothing is painted here.

    Parameters
    ----------
    segmenter : SliceSegmenter
    volume : Volume
    prompts : sequence of ObjectPrompt
        Clipped to the volume. Those along the same axis are segmented together.
    window : Window, optional
        Default: the volume's own.
    propagation : Propagation
    on_empty : OnEmpty
        For `Propagation.MASK`.

    Raises
    ------
    InvalidBox
        If a box lies outside the volume.
    """
    prompts = [prompt.clip(volume.shape) for prompt in prompts]
    window = volume.window_or_default(window)
    axes = sorted({prompt.axis for prompt in prompts})
    if len(axes) > 1:
        return _axis_by_axis(segmenter, volume, prompts, window, propagation, on_empty)
    for axis in axes:
        volume = seen_along(volume, axis)
    if propagation is Propagation.BOX:
        return _drawn_boxes(segmenter, volume, prompts, window)
    return _middle_out(segmenter, volume, prompts, window, on_empty)


def input_points(
    geometry: SliceGeometry, points: Sequence[Point]
) -> tuple[InputPoint, ...]:
    """Return points as the model takes them."""
    return tuple(
        (*geometry.point_to_input(point.x, point.y), float(point.is_positive))
        for point in points
    )


def _axis_by_axis(
    segmenter: SliceSegmenter,
    volume: Volume,
    prompts: list[ObjectPrompt],
    window: Window,
    propagation: Propagation,
    on_empty: OnEmpty,
) -> Generator[SliceUpdate, None, None]:
    parts = []
    for axis in sorted({prompt.axis for prompt in prompts}):
        chosen = [i for i, prompt in enumerate(prompts) if prompt.axis == axis]
        along = [prompts[i] for i in chosen]
        visits = _visit_count(along, propagation)
        updates = segment_volume(
            segmenter, volume, along, window, propagation, on_empty
        )
        parts.append((chosen, visits, updates))
    total = sum(visits for _, visits, _ in parts)
    before = 0
    for chosen, visits, updates in parts:
        with closing(updates):
            for update in updates:
                masks = tuple((chosen[i], mask) for i, mask in update.masks)
                done = before + update.done
                yield replace(update, masks=masks, done=done, total=total)
        before += visits


def _visit_count(prompts: Sequence[ObjectPrompt], propagation: Propagation) -> int:
    boxes = [prompt.box for prompt in prompts]
    if propagation is Propagation.BOX:
        return len(slice_schedule(boxes))
    starts = [box.middle_slice for box in boxes]
    pairs = list(zip(starts, boxes, strict=True))
    rising = {z for start, box in pairs for z in range(start, box.z_max)}
    falling = {z for start, box in pairs for z in range(box.z_min, start)}
    return len(rising) + len(falling)


def _drawn_boxes(
    segmenter: SliceSegmenter,
    volume: Volume,
    prompts: list[ObjectPrompt],
    window: Window,
) -> Generator[SliceUpdate, None, None]:
    geometry = segmenter.geometry(volume)
    schedule = slice_schedule([prompt.box for prompt in prompts])
    for done, (slice_index, crossing) in enumerate(schedule.items(), 1):
        here = [prompts[i] for i in crossing]
        boxes = [geometry.box_to_input(p.box_on(slice_index)) for p in here]
        points = [input_points(geometry, p.points_on(slice_index)) for p in here]
        masks = segmenter.masks(volume, slice_index, boxes, window, points)
        pairs = tuple(zip(crossing, masks, strict=True))
        yield SliceUpdate(slice_index, pairs, done, len(schedule), here[0].axis)


@dataclass
class _Track:
    """One object on its way through the slices, in one direction."""

    prompt: ObjectPrompt
    slices: range
    previous: NDArray[np.bool_] | None = None
    ended: bool = field(default=False)


def _middle_out(
    segmenter: SliceSegmenter,
    volume: Volume,
    prompts: list[ObjectPrompt],
    window: Window,
    on_empty: OnEmpty,
) -> Generator[SliceUpdate, None, None]:
    geometry = segmenter.geometry(volume)
    starts = [p.box.middle_slice for p in prompts]
    pairs = list(zip(prompts, starts, strict=True))
    up = [_Track(p, range(start, p.box.z_max)) for p, start in pairs]
    down = [_Track(p, range(p.box.z_min, start)) for p, start in pairs]
    rising = sorted({z for track in up for z in track.slices})
    falling = sorted({z for track in down for z in track.slices}, reverse=True)
    visits = [(z, up) for z in rising] + [(z, down) for z in falling]
    twice = set(rising) & set(falling)
    nothing = np.zeros(volume.shape[1:], bool)
    held: dict[int, str] = {}
    try:
        for done, (slice_index, tracks) in enumerate(visits, 1):
            wanted: dict[int, InputBox] = {}
            # An ended object says so on the slices it does not reach, or labels
            # from an earlier run would stay there.
            found: dict[int, NDArray[np.bool_]] = {}
            for i, track in enumerate(tracks):
                if slice_index in track.slices:
                    box = _next_box(track, slice_index, geometry, on_empty)
                    if box is None:
                        found[i] = nothing
                    else:
                        wanted[i] = box
            if wanted:
                key, embedding = segmenter.embed(volume, slice_index, window)
                if slice_index in twice and tracks is up:
                    # The way down comes back here: it must not be encoded again.
                    segmenter.store.hold(key)
                    held[slice_index] = key
                points = [
                    input_points(geometry, prompts[i].points_on(slice_index))
                    for i in wanted
                ]
                logits = segmenter.decode(embedding, list(wanted.values()), points)
                masks = geometry.logits_to_masks(logits)
                for i, mask in zip(wanted, masks, strict=True):
                    found[i] = tracks[i].previous = mask
                    if tracks is up and slice_index == starts[i]:
                        down[i].previous = mask
            if tracks is down and slice_index in held:
                segmenter.store.release(held.pop(slice_index))
            masks_here = tuple(sorted(found.items()))
            axis = prompts[0].axis
            yield SliceUpdate(slice_index, masks_here, done, len(visits), axis)
    finally:
        for key in held.values():
            segmenter.store.release(key)


def _next_box(
    track: _Track, slice_index: int, geometry: SliceGeometry, on_empty: OnEmpty
) -> InputBox | None:
    drawn = geometry.box_to_input(track.prompt.box_on(slice_index))
    # A key box is the user's word, wherever the mask before it went.
    if track.prompt.is_key(slice_index):
        track.ended = False
        return drawn
    if track.ended:
        return None
    if track.previous is None:
        return drawn
    box = geometry.mask_to_input_box(track.previous)
    if box is None and on_empty is OnEmpty.BOX:
        return drawn
    track.ended = box is None
    return box
