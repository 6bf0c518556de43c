"""From one good mask up or down the slices, until the object ends."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.propagation import SliceUpdate, input_points
from napari_qmedsam.segmentation.segmenter import InputBox, SliceSegmenter
from napari_qmedsam.volumes.reslicing import seen_along
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


class Direction(int, Enum):
    """Which way to go through the slices."""

    UP = 1
    """Towards higher slice indices."""

    DOWN = -1
    """Towards lower slice indices."""


@dataclass(frozen=True)
class EarlyStop:
    """When an object counts as ended: its mask vanishes, or changes too much.

    Parameters
    ----------
    smallest_share : float
        Of the area on the slice before; less than this is its end.
    largest_growth : float
        Times the area on the slice before; more than this is another object.

    Raises
    ------
    InvalidSettings
        If the two do not enclose 1.
    """

    smallest_share: float = 0.15
    largest_growth: float = 4.0

    def __post_init__(self) -> None:
        if not 0 <= self.smallest_share < 1 < self.largest_growth:
            raise InvalidSettings(
                f"smallest_share {self.smallest_share} must lie in 0..1, and "
                f"largest_growth {self.largest_growth} above 1."
            )

    def says(self, mask: NDArray[np.bool_], previous: NDArray[np.bool_]) -> bool:
        """Tell whether the object has ended between two slices."""
        area, before = int(mask.sum()), int(previous.sum())
        if area == 0 or before == 0:
            return True
        return not self.smallest_share <= area / before <= self.largest_growth


@dataclass
class _Follower:
    """One object on its way: its last mask, and where it may go."""

    prompt: ObjectPrompt
    mask: NDArray[np.bool_]
    last: int
    has_ended: bool = False

    def reaches(self, slice_index: int, direction: Direction) -> bool:
        return (self.last - slice_index) * direction >= 0


def follow(
    segmenter: SliceSegmenter,
    volume: Volume,
    prompts: Sequence[ObjectPrompt],
    masks: Sequence[NDArray[np.bool_]],
    slice_index: int,
    direction: Direction,
    window: Window | None = None,
    stop: EarlyStop | None = None,
) -> Generator[SliceUpdate, None, None]:
    """Carry masks of one slice to the slices beyond it.

    Each slice is prompted by the box of its neighbour's mask, a key slice by
    its key box. An object whose box goes on beyond `slice_index` is followed to
    the end of its box, any other to the end of the volume. Where it ends
    earlier, the rest of its box gets empty masks, up to the next key box.

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
    """
    window = volume.default_window() if window is None else window
    stop = EarlyStop() if stop is None else stop
    axis = prompts[0].axis
    seen = seen_along(volume, axis)
    geometry = segmenter.geometry(seen)
    followers = [
        _Follower(prompt, mask, _last_slice(prompt, slice_index, direction, seen))
        for prompt, mask in zip(prompts, masks, strict=True)
    ]
    furthest = max(f.last * direction for f in followers) * direction
    visits = range(slice_index + direction, furthest + direction, direction)
    for done, here in enumerate(visits, 1):
        wanted: dict[int, InputBox] = {}
        found: dict[int, NDArray[np.bool_]] = {}
        for i, follower in enumerate(followers):
            if not follower.reaches(here, direction):
                continue
            box = _next_box(follower, here, geometry)
            if box is not None:
                wanted[i] = box
            elif follower.prompt.reaches(here):
                found[i] = np.zeros(seen.shape[1:], bool)
        if wanted:
            asked = [followers[i].prompt.points_on(here) for i in wanted]
            points = [input_points(geometry, p) for p in asked]
            given = segmenter.masks(seen, here, list(wanted.values()), window, points)
            for i, mask in zip(wanted, given, strict=True):
                follower = followers[i]
                is_key = follower.prompt.is_key(here)
                if not is_key and stop.says(mask, follower.mask):
                    follower.has_ended = True
                    mask = np.zeros_like(mask)
                else:
                    follower.mask = mask
                found[i] = mask
        if not found and all(_is_done(f, here, direction) for f in followers):
            return
        yield SliceUpdate(here, tuple(sorted(found.items())), done, len(visits), axis)


def _last_slice(
    prompt: ObjectPrompt, slice_index: int, direction: Direction, seen: Volume
) -> int:
    if direction is Direction.UP:
        end = prompt.box.z_max - 1
        return end if end > slice_index else seen.shape[0] - 1
    return prompt.box.z_min if prompt.box.z_min < slice_index else 0


def _is_done(follower: _Follower, here: int, direction: Direction) -> bool:
    """Tell whether nothing of the object lies beyond this slice."""
    if not follower.reaches(here + direction, direction):
        return True
    # The rest of its box must still be emptied, or has a key box further on.
    return follower.has_ended and not follower.prompt.reaches(here + direction)


def _next_box(
    follower: _Follower, slice_index: int, geometry: SliceGeometry
) -> InputBox | None:
    if follower.prompt.is_key(slice_index):
        follower.has_ended = False
        return geometry.box_to_input(follower.prompt.box_on(slice_index))
    if follower.has_ended:
        return None
    box = geometry.mask_to_input_box(follower.mask)
    follower.has_ended = box is None
    return box
