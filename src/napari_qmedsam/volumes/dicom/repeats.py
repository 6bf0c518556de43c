"""Frames of one place: copies, or several images of the same slices."""

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.dicom.frames import Frame
from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.frames import choose_frame

SAME_PLACE_MM = 1e-3
"""Slices nearer than this lie at the same place."""

SHOWN = 12
"""Images that a notice lists."""


SamePixels = Callable[[Frame, Frame], bool]
"""Tells whether two frames hold the same pixels."""


def drop_copies(
    frames: list[Frame], same_pixels: SamePixels
) -> tuple[list[Frame], tuple[str, ...]]:
    """Keep one of frames that are the same object copied.

    Numbers alone do not tell: some tools give one SOPInstanceUID to every slice.
    """
    kept: dict[object, list[Frame]] = defaultdict(list)
    for frame in sorted(frames, key=lambda frame: frame.file.name):
        key = (
            frame.uid or str(frame.file),
            frame.index,
            frame.position,
            frame.orientation,
        )
        if not any(same_pixels(other, frame) for other in kept[key]):
            kept[key].append(frame)
    left = [frame for alike in kept.values() for frame in alike]
    copies = len(frames) - len(left)
    if not copies:
        return frames, ()
    return left, (_copies_notice(copies, "the same SOPInstanceUID"),)


def _copies_notice(copies: int, what: str) -> str:
    return f"{copies} slice(s) stand in the folder twice (with {what}), read once."


def _drop_equal(
    frames: list[Frame], places: list[int], same_pixels: SamePixels
) -> list[Frame]:
    """Leave out frames with the same pixels as an earlier one of their place."""
    kept: list[tuple[int, Frame]] = []
    for place, frame in zip(places, frames, strict=True):
        beside = (other for where, other in kept if where == place)
        if not any(same_pixels(other, frame) for other in beside):
            kept.append((place, frame))
    return [frame for _, frame in kept]


def one_image(
    path: Path,
    frames: list[Frame],
    along: NDArray[np.float64],
    same_pixels: SamePixels,
    wanted: int | None,
) -> tuple[list[Frame], tuple[str, ...]]:
    """Return the frames of one of several images of the same slices.

    Parameters
    ----------
    along : ndarray, (n,)
        Where the frames lie along the stack, in ascending order.
    """
    places = np.cumsum(np.diff(along, prepend=along[0]) > SAME_PLACE_MM).tolist()
    repeats = max(Counter(places).values())
    if repeats == 1:
        choose_frame(path, wanted, 1)
        return frames, ()
    names, images = _split_images(frames, places, repeats)
    if not images:
        kept = _drop_equal(frames, places, same_pixels)
        if len(kept) == places[-1] + 1:
            choose_frame(path, wanted, 1)
            return kept, (_copies_notice(len(frames) - len(kept), "the same pixels"),)
        first = next(i for i, place in enumerate(places) if places.count(place) > 1)
        raise unreadable(
            path,
            f"slices {first} and {first + 1} lie at the same position, and nothing in "
            "their headers tells them apart",
            "Export each image of the region as a series of its own.",
        )
    index, _ = choose_frame(path, wanted, len(images))
    if wanted is not None:
        return images[index][1], ()
    shown = [" ".join(value).strip() or "not given" for value, _ in images]
    if len(shown) > SHOWN:
        shown[SHOWN - 1 : -1] = ["..."]
    listed = "; ".join(shown)
    notice = (
        f"The series holds {len(images)} images of the same slices, which differ in "
        f"{' and '.join(names)} ({listed}); the first was read. frame= or --frame "
        "chooses another."
    )
    return images[0][1], (notice,)


def _split_images(
    frames: list[Frame], places: list[int], repeats: int
) -> tuple[tuple[str, ...], list[tuple[tuple[str, ...], list[Frame]]]]:
    """Split frames that share places into one image each.

    The fewest traits are taken that give as many images as there are frames
    at one place, none of them with two frames at one place.
    """
    traits = [dict(frame.traits) for frame in frames]
    known = list(dict.fromkeys(name for trait in traits for name in trait))
    varied = [n for n in known if len({trait.get(n, "") for trait in traits}) > 1]
    for count in (1, 2, 3):
        for names in combinations(varied, count):
            images: dict[tuple[str, ...], list[int]] = {}
            for i, trait in enumerate(traits):
                key = tuple(trait.get(name, "") for name in names)
                images.setdefault(key, []).append(i)
            alone = all(
                len({places[i] for i in image}) == len(image)
                for image in images.values()
            )
            if alone and len(images) == repeats:
                ordered = sorted(images, key=lambda key: [_sort_key(v) for v in key])
                return names, [
                    (key, [frames[i] for i in images[key]]) for key in ordered
                ]
    return _split_by_order(frames, places, repeats, traits, varied)


def _split_by_order(
    frames: list[Frame],
    places: list[int],
    repeats: int,
    traits: list[dict[str, str]],
    varied: list[str],
) -> tuple[tuple[str, ...], list[tuple[tuple[str, ...], list[Frame]]]]:
    """Split by a trait that differs at every place, but not alike at all of them.

    Times are such, where each slice of each image has one of its own.
    """
    if set(Counter(places).values()) != {repeats}:
        return (), []
    by_place: dict[int, list[int]] = defaultdict(list)
    for i, place in enumerate(places):
        by_place[place].append(i)
    for name in varied:
        values = [trait.get(name, "") for trait in traits]
        if all(
            len({values[i] for i in here} - {""}) == repeats
            for here in by_place.values()
        ):
            ordered = [
                sorted(here, key=lambda i: _sort_key(values[i]))
                for here in by_place.values()
            ]
            return (name,), [
                ((values[ordered[0][k]],), [frames[here[k]] for here in ordered])
                for k in range(repeats)
            ]
    return (), []


def _sort_key(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value
