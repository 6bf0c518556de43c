"""What refines the box of an object: boxes on further slices, points, other kinds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from napari_qmedsam.errors import InvalidPrompt
from napari_qmedsam.prompts.boxes import Box2D, is_finite


@dataclass(frozen=True)
class KeyBox:
    """A box drawn on one slice of an object that spans several."""

    slice_index: int
    box: Box2D


@dataclass(frozen=True)
class Point:
    """A voxel that belongs to an object, or does not; it refines a box.

    Parameters
    ----------
    slice_index : int
    x, y : float
        Voxel indices; 3.0 is the middle of voxel 3.
    is_positive : bool
    """

    slice_index: int
    x: float
    y: float
    is_positive: bool = True

    def __post_init__(self) -> None:
        if not (is_finite(self.x) and is_finite(self.y)):
            raise InvalidPrompt(f"Point {self.x}, {self.y} must hold finite numbers.")

    def clicks(self) -> tuple["Point", ...]:
        """Return what a model is shown of it: itself."""
        return (self,)


@dataclass(frozen=True)
class Piece:
    """A further box on one slice of an object: what it gives is added or taken away.

    Parameters
    ----------
    slice_index : int
    x_min, y_min, x_max, y_max : float
        As of a :class:`Box2D`.
    takes_away : bool
        What the box gives is no part of the object.

    Raises
    ------
    InvalidBox
        If it is no box.
    """

    slice_index: int
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    takes_away: bool = False

    def __post_init__(self) -> None:
        Box2D(self.x_min, self.y_min, self.x_max, self.y_max)

    @classmethod
    def of(cls, slice_index: int, box: Box2D, takes_away: bool = False) -> "Piece":
        """Make one of a box."""
        sides = box.x_min, box.y_min, box.x_max, box.y_max
        return cls(slice_index, *sides, takes_away)

    @property
    def box(self) -> Box2D:
        """What a model is shown of it, for a mask of its own."""
        return Box2D(self.x_min, self.y_min, self.x_max, self.y_max)

    def clicks(self) -> tuple[Point, ...]:
        """Return what the box of the object is shown with: nothing."""
        return ()


@dataclass(frozen=True)
class Absence:
    """A slice on which the object is not: its box there is empty.

    Where an object is propagated, it ends before such a slice.
    """

    slice_index: int

    def clicks(self) -> tuple[Point, ...]:
        """Return what the box of the object is shown with: nothing."""
        return ()


class Refinement(Protocol):
    """What refines the box of an object on one slice, such as a :class:`Point`.

    A kind is a frozen dataclass with what is named here, and an entry in
    `REFINEMENTS`. Sessions then keep it, undo and autosave bring it back, and models
    are shown its clicks. To be set in the window it takes a layer
    with its tools (``gui/segment/point_layer.py``), named in ``refinement_layers.py``.
    """

    @property
    def slice_index(self) -> int:
        """The slice it lies on."""
        ...

    def clicks(self) -> Sequence[Point]:
        """Return the voxels inside and outside that models of this family take."""
        ...


REFINEMENTS: dict[str, type[Any]] = {
    "points": Point,
    "pieces": Piece,
    "absences": Absence,
}
"""The kinds there are, by the name that sessions and files have for all of a kind."""


def interpolate(keys: Sequence[KeyBox], slice_index: int) -> Box2D:
    """Return the box of a slice from the key boxes around it.

    Each side moves linearly between two key boxes; before the first and after
    the last the nearest one holds.

    Parameters
    ----------
    keys : sequence of KeyBox
        At least one, in any order.
    slice_index : int
    """
    around = keys_around(keys, slice_index)
    if around is None:
        return min(keys, key=lambda key: abs(key.slice_index - slice_index)).box
    first, last = around
    share = (slice_index - first.slice_index) / (last.slice_index - first.slice_index)

    def between(low: float, high: float) -> float:
        return low + share * (high - low)

    a, b = first.box, last.box
    return Box2D(
        between(a.x_min, b.x_min),
        between(a.y_min, b.y_min),
        between(a.x_max, b.x_max),
        between(a.y_max, b.y_max),
    )


def keys_around(
    keys: Sequence[KeyBox], slice_index: int
) -> tuple[KeyBox, KeyBox] | None:
    """Return the key boxes below and above a slice; None on a key slice or beyond."""
    below = [key for key in keys if key.slice_index <= slice_index]
    above = [key for key in keys if key.slice_index >= slice_index]
    if not below or not above:
        return None
    first = max(below, key=lambda key: key.slice_index)
    last = min(above, key=lambda key: key.slice_index)
    return None if first.slice_index == last.slice_index else (first, last)
