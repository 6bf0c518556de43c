"""Which slices an object's boxes and masks prompt, and how.

3D boxes are first turned into a schedule per slice (QMedSAM, section 2.1), so
objects that cross a slice share its embedding.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from enum import Enum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.preprocessing import is_blank
from napari_qmedsam.segmentation.early_stop import EarlyStop
from napari_qmedsam.segmentation.evidence import WorkingSlices
from napari_qmedsam.segmentation.field_of_view import FieldOfView
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.propagated_object import (
    PropagatedObject,
    learn_margins,
)
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.segmentation.track import Sweep, Track
from napari_qmedsam.segmentation.tracking import (
    SliceUpdate,
    track_objects,
)
from napari_qmedsam.segmentation.votes import Votes
from napari_qmedsam.volumes.reslicing import seen_along
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


class Follow(str, Enum):
    """What the slices of a 3D box follow."""

    BOX = "box"
    """The same box on every slice (QMedSAM)."""

    MASK = "mask"
    """Follow the mask: from the middle outwards, each slice prompted by the box
    of its neighbour's mask (LiteMedSAM). An object ends where its mask is empty."""


class Direction(int, Enum):
    """Which way masks are propagated through the slices."""

    UP = 1
    """Towards higher slice indices."""

    DOWN = -1
    """Towards lower slice indices."""

    BOTH = 0
    """Up, and then down."""

    @property
    def steps(self) -> tuple[int, ...]:
        """From one slice to the next, for each way to go."""
        return (1, -1) if self is Direction.BOTH else (int(self),)


def segment_volume(
    segmenter: SliceSegmenter,
    volume: Volume,
    prompts: Sequence[ObjectPrompt],
    window: Window | None = None,
    follow: Follow = Follow.BOX,
    tighten: bool = False,
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
    follow : Follow
    tighten : bool
        Look again at the masks of boxes that may be too large or shifted.

    Raises
    ------
    InvalidBox
        If a box lies outside the volume.
    """
    prompts = [prompt.clip(volume.shape) for prompt in prompts]
    window = volume.window_or_default(window)
    parts = []
    for axis in sorted({prompt.axis for prompt in prompts}):
        chosen = [i for i, prompt in enumerate(prompts) if prompt.axis == axis]
        sweeps = _sweeps([prompts[i] for i in chosen], follow)
        seen = seen_along(volume, axis)
        updates = track_objects(segmenter, seen, sweeps, window, tighten=tighten)
        slices = {z for tracks in sweeps for track in tracks for z in track.slices}
        parts.append((chosen, len(slices), updates))
    return _one_after_the_other(parts)


def propagate_masks(
    segmenter: SliceSegmenter,
    volume: Volume,
    prompts: Sequence[ObjectPrompt],
    masks: Sequence[NDArray[np.bool_]],
    slice_index: int,
    direction: Direction = Direction.BOTH,
    window: Window | None = None,
    stop: EarlyStop | None = None,
) -> Generator[SliceUpdate, None, None]:
    """Propagate masks of one slice to the slices beyond it.

    Each slice is prompted by the box of its neighbour's mask, moved along with the
    slice, and a key slice by its key box. The model's answer, that mask and the
    object's greys make the new one
    (:mod:`~napari_qmedsam.segmentation.propagated_object`).
    An object whose box goes on beyond `slice_index` is tracked to the end of its box,
    any other to the end of the volume. Where it ends earlier, the rest of its box gets
    empty masks, up to the next key box.

    Parameters
    ----------
    segmenter : SliceSegmenter
    volume : Volume
    prompts : sequence of ObjectPrompt
        All along the same axis.
    masks : sequence of (Y, X) bool
        The mask of each on `slice_index`.
    slice_index : int
    direction : Direction
    window : Window, optional
        Default: the volume's own.
    stop : EarlyStop, optional
        Default: `EarlyStop()`.
    """
    window = volume.window_or_default(window)
    seen = seen_along(volume, prompts[0].axis)
    slices = WorkingSlices(seen, window)
    start = slices.image(slice_index)
    own = [slices.frame.mask(mask) for mask in masks]
    sweeps = [
        [
            Track(
                prompt,
                _slices_beyond(prompt, slice_index, step, seen.shape[0]),
                propagated=PropagatedObject(slices.frame, slice_index, start, mask),
            )
            for prompt, mask in zip(prompts, own, strict=True)
        ]
        for step in direction.steps
    ]
    return _learn_and_track(segmenter, seen, sweeps, slice_index, window, stop)


def count_beyond(
    prompts: Sequence[ObjectPrompt], slice_index: int, direction: Direction, depth: int
) -> int:
    """Return how many slices :func:`propagate_masks` goes to at most."""
    return len(
        {
            z
            for prompt in prompts
            for step in direction.steps
            for z in _slices_beyond(prompt, slice_index, step, depth)
        }
    )


def _learn_and_track(
    segmenter: SliceSegmenter,
    volume: Volume,
    sweeps: Sequence[Sweep],
    slice_index: int,
    window: Window,
    stop: EarlyStop | None,
) -> Generator[SliceUpdate, None, None]:
    """Learn margins on the slice where all tracks begin, then track them."""
    propagated = [[t.propagated for t in tracks if t.propagated] for tracks in sweeps]
    if not is_blank(volume.array, slice_index):

        def embedding_of(view: FieldOfView) -> NDArray[np.float32] | None:
            if segmenter.shows_nothing(volume, slice_index, view):
                return None
            return segmenter.embed(volume, slice_index, window, view)[1]

        view_of = partial(segmenter.view, volume)
        learn_margins(segmenter, view_of, embedding_of, propagated[0])
    for other in propagated[1:]:
        for one, like in zip(other, propagated[0], strict=True):
            one.margin = like.margin
    yield from track_objects(segmenter, volume, sweeps, window, stop)


def _sweeps(prompts: Sequence[ObjectPrompt], follow: Follow) -> list[Sweep]:
    """Return the tracks of 3D boxes: through each box, or both ways from its middle."""
    if follow is Follow.BOX:
        main = [
            Track(p, range(p.box.z_min, p.box.z_max), follows_mask=False)
            for p in prompts
        ]
        return [*_scouts(main), main]
    starts = [p.box.middle_slice for p in prompts]
    down = [
        Track(p, range(start - 1, p.box.z_min - 1, -1))
        for p, start in zip(prompts, starts, strict=True)
    ]
    up = [
        Track(p, range(start, p.box.z_max), twin=twin)
        for p, start, twin in zip(prompts, starts, down, strict=True)
    ]
    return [up, down]


def _scouts(tracks: Sequence[Track]) -> list[Sweep]:
    """Return the ways down and up between key boxes; the tracks get their votes."""
    ways: list[Sweep] = []
    apart = [track for track in tracks if track.prompt.has_gaps]
    for track in apart:
        track.votes = Votes()
    for step in (-1, 1) if apart else ():
        scouts = []
        for track in apart:
            keys = sorted(key.slice_index for key in track.prompt.keys)
            way = range(keys[0], keys[-1] + 1)[::step]
            scouts.append(Track(track.prompt, way, votes=track.votes, is_scout=True))
        ways.append(scouts)
    return ways


def _slices_beyond(
    prompt: ObjectPrompt, slice_index: int, step: int, depth: int
) -> range:
    """Return where an object may go from a slice: on in its box, or to the end."""
    if step > 0:
        end = prompt.box.z_max - 1
        return range(slice_index + 1, (end if end > slice_index else depth - 1) + 1)
    start = prompt.box.z_min
    return range(slice_index - 1, (start if start < slice_index else 0) - 1, -1)


def _one_after_the_other(
    parts: Sequence[tuple[list[int], int, Generator[SliceUpdate, None, None]]],
) -> Generator[SliceUpdate, None, None]:
    """Join the updates of several axes: indices of all prompts, slices counted on."""
    total = sum(slices for _, slices, _ in parts)
    before = 0
    for chosen, slices, updates in parts:
        with closing(updates):
            for update in updates:
                masks = tuple((chosen[i], mask) for i, mask in update.masks)
                done = before + update.done
                yield replace(update, masks=masks, done=done, total=total)
        before += slices
