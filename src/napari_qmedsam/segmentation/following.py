"""From one good mask up or down the slices, until the object ends."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.preprocessing import SliceGeometry, slice_image
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
class Sight:
    """What a mask shows of an object on one slice.

    Parameters
    ----------
    mask : ndarray, (Y, X) bool
    grey : float
        Median of the windowed grey values, 0 to 255, inside the mask.
    spread : float
        Median distance of these values from `grey`.
    """

    mask: NDArray[np.bool_]
    grey: float
    spread: float

    @classmethod
    def of(cls, mask: NDArray[np.bool_], image: NDArray[np.uint8]) -> "Sight":
        """Look at a (Y, X) or (Y, X, 3) slice through a mask."""
        values = image[mask].astype(np.float32)
        if values.size == 0:
            return cls(mask, 0.0, 0.0)
        grey = float(np.median(values))
        return cls(mask, grey, float(np.median(np.abs(values - grey))))

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(self.mask.sum())


@dataclass(frozen=True)
class EarlyStop:
    """When an object counts as ended.

    A model that was shown a box finds something in it on any slice. So masks
    are compared with the one before, and greys with where the way began: a
    mask that slips off an object changes little by little, its grey does not
    come back.

    Parameters
    ----------
    smallest_share : float
        Of the area on the slice before; less than this is its end.
    largest_growth : float
        Times the area on the slice before; more than this is another object.
    least_overlap : float
        Of the masks of two neighbouring slices, as a share of the smaller one.
    grey_spreads : float
        How far the grey may move, in spreads of the first slice.
    least_grey : float
        Grey levels of 255 that it may always move.

    Raises
    ------
    InvalidSettings
        If `smallest_share` and `largest_growth` do not enclose 1.
    """

    smallest_share: float = 0.2
    largest_growth: float = 3.0
    least_overlap: float = 0.8
    grey_spreads: float = 3.0
    least_grey: float = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.smallest_share < 1 < self.largest_growth:
            raise InvalidSettings(
                f"smallest_share {self.smallest_share} must lie in 0..1, and "
                f"largest_growth {self.largest_growth} above 1."
            )

    def says(self, now: Sight, previous: Sight, first: Sight) -> bool:
        """Tell whether the object has ended between two slices."""
        if now.area == 0 or previous.area == 0:
            return True
        share = now.area / previous.area
        both = int((now.mask & previous.mask).sum())
        may_move = max(self.grey_spreads * first.spread, self.least_grey)
        return (
            not self.smallest_share <= share <= self.largest_growth
            or both / min(now.area, previous.area) < self.least_overlap
            or abs(now.grey - first.grey) > may_move
        )


@dataclass
class _Follower:
    """One object on its way: how it began, its last mask, and where it may go."""

    prompt: ObjectPrompt
    first: Sight
    sight: Sight
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
    window = volume.window_or_default(window)
    stop = EarlyStop() if stop is None else stop
    axis = prompts[0].axis
    seen = seen_along(volume, axis)
    geometry = segmenter.geometry(seen)
    start = slice_image(seen.array, slice_index, window)
    followers = []
    for prompt, mask in zip(prompts, masks, strict=True):
        sight = Sight.of(mask, start)
        last = _last_slice(prompt, slice_index, direction, seen)
        followers.append(_Follower(prompt, sight, sight, last))
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
            image = slice_image(seen.array, here, window)
            for i, mask in zip(wanted, given, strict=True):
                follower, sight = followers[i], Sight.of(mask, image)
                is_key = follower.prompt.is_key(here)
                if is_key or not stop.says(sight, follower.sight, follower.first):
                    follower.sight = sight
                else:
                    follower.has_ended = True
                    mask = np.zeros_like(mask)
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
    box = geometry.mask_to_input_box(follower.sight.mask)
    follower.has_ended = box is None
    return box
