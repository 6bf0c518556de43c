"""Boxes over several slices to masks, every slice encoded exactly once.

The 3D boxes are first turned into a schedule per slice (QMedSAM, section 2.1),
so objects that cross a slice share its embedding.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.segmenter import InputBox, SliceSegmenter
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
class ObjectPrompt:
    """One object: the id its voxels get, and its box."""

    object_id: int
    box: Box3D


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
    """

    slice_index: int
    masks: tuple[tuple[int, NDArray[np.bool_]], ...]
    done: int
    total: int


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
        Clipped to the volume.
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
    boxes = [prompt.box.clip(*volume.shape) for prompt in prompts]
    window = volume.default_window() if window is None else window
    if propagation is Propagation.BOX:
        return _same_box(segmenter, volume, boxes, window)
    return _middle_out(segmenter, volume, boxes, window, on_empty)


def _same_box(
    segmenter: SliceSegmenter, volume: Volume, boxes: list[Box3D], window: Window
) -> Generator[SliceUpdate, None, None]:
    geometry = segmenter.geometry(volume)
    prompts = [geometry.box_to_input(box.in_plane) for box in boxes]
    schedule = slice_schedule(boxes)
    for done, (slice_index, crossing) in enumerate(schedule.items(), 1):
        wanted = [prompts[i] for i in crossing]
        masks = segmenter.masks(volume, slice_index, wanted, window)
        pairs = tuple(zip(crossing, masks, strict=True))
        yield SliceUpdate(slice_index, pairs, done, len(schedule))


@dataclass
class _Track:
    """One object on its way through the slices, in one direction."""

    box: InputBox
    slices: range
    previous: NDArray[np.bool_] | None = None
    ended: bool = field(default=False)


def _middle_out(
    segmenter: SliceSegmenter,
    volume: Volume,
    boxes: list[Box3D],
    window: Window,
    on_empty: OnEmpty,
) -> Generator[SliceUpdate, None, None]:
    geometry = segmenter.geometry(volume)
    starts = [(box.z_min + box.z_max - 1) // 2 for box in boxes]
    first = [geometry.box_to_input(box.in_plane) for box in boxes]
    up = [_Track(first[i], range(starts[i], box.z_max)) for i, box in enumerate(boxes)]
    down = [
        _Track(first[i], range(box.z_min, starts[i])) for i, box in enumerate(boxes)
    ]
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
                    box = None if track.ended else _next_box(track, geometry, on_empty)
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
                logits = segmenter.decode(embedding, list(wanted.values()))
                masks = geometry.logits_to_masks(logits)
                for i, mask in zip(wanted, masks, strict=True):
                    found[i] = tracks[i].previous = mask
                    if tracks is up and slice_index == starts[i]:
                        down[i].previous = mask
            if tracks is down and slice_index in held:
                segmenter.store.release(held.pop(slice_index))
            pairs = tuple(sorted(found.items()))
            yield SliceUpdate(slice_index, pairs, done, len(visits))
    finally:
        for key in held.values():
            segmenter.store.release(key)


def _next_box(
    track: _Track, geometry: SliceGeometry, on_empty: OnEmpty
) -> InputBox | None:
    if track.previous is None:
        return track.box
    box = geometry.mask_to_input_box(track.previous)
    if box is None and on_empty is OnEmpty.BOX:
        return track.box
    track.ended = box is None
    return box
