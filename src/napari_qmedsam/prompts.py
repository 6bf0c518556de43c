"""Boxes, and the schedule that says which boxes each slice needs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidBox, InvalidPrompt


@dataclass(frozen=True)
class Box2D:
    """A box on one slice, in voxel indices; the maximum is excluded.

    ``Box2D(2, 3, 5, 7)`` covers columns 2, 3, 4 and rows 3, 4, 5, 6.

    Parameters
    ----------
    x_min, y_min, x_max, y_max : float
        Columns and rows.

    Raises
    ------
    InvalidBox
        If a number is not finite, or the box is empty.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    def __post_init__(self) -> None:
        values = (self.x_min, self.y_min, self.x_max, self.y_max)
        if not all(_is_finite(value) for value in values):
            raise InvalidBox(f"Box {values} must hold finite numbers.")
        if not (self.x_min < self.x_max and self.y_min < self.y_max):
            raise InvalidBox(
                f"Box x {self.x_min}..{self.x_max}, y {self.y_min}..{self.y_max} "
                "is empty: each maximum must be above its minimum."
            )

    def corners(self) -> tuple[float, float, float, float]:
        """(x_min, y_min, x_max - 1, y_max - 1): centres of the corner pixels.

        This is the form of the official checkpoints, whose maxima are the
        last pixel inside the box.
        """
        return (
            self.x_min,
            self.y_min,
            max(self.x_max - 1, self.x_min),
            max(self.y_max - 1, self.y_min),
        )

    def clip(self, height: int, width: int) -> "Box2D":
        """Return the part inside a (height, width) slice.

        Raises
        ------
        InvalidBox
            If nothing of the box lies inside.
        """
        clipped = (
            max(self.x_min, 0),
            max(self.y_min, 0),
            min(self.x_max, width),
            min(self.y_max, height),
        )
        if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
            raise InvalidBox(
                f"Box x {self.x_min}..{self.x_max}, y {self.y_min}..{self.y_max} "
                f"lies outside the slice of {width} by {height} pixels."
            )
        return Box2D(*clipped)

    @classmethod
    def around(cls, mask: NDArray[np.bool_], margin: int = 0) -> Self | None:
        """Return the tight box of a (Y, X) mask, or None where it is empty."""
        rows = np.flatnonzero(mask.any(axis=1))
        columns = np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            return None
        return cls(
            int(columns[0]) - margin,
            int(rows[0]) - margin,
            int(columns[-1]) + 1 + margin,
            int(rows[-1]) + 1 + margin,
        )

    @classmethod
    def enclosing(cls, mask: NDArray[np.bool_]) -> Self:
        """Return the tight box of a (Y, X) mask that is known not to be empty.

        Raises
        ------
        InvalidBox
            If it is.
        """
        box = cls.around(mask)
        if box is None:
            raise InvalidBox("An empty mask has no box.")
        return box

    def jitter(
        self, pixels: int, height: int, width: int, rng: np.random.Generator
    ) -> "Box2D":
        """Move each side by up to `pixels`, inside the slice, never to nothing.

        Parameters
        ----------
        pixels : int
        height, width : int
            Of the slice.
        rng : numpy.random.Generator
        """
        if pixels <= 0:
            return self
        d = rng.integers(-pixels, pixels + 1, size=4)
        x_min = float(np.clip(self.x_min + d[0], 0, width - 1))
        y_min = float(np.clip(self.y_min + d[1], 0, height - 1))
        x_max = float(np.clip(self.x_max + d[2], x_min + 1, width))
        y_max = float(np.clip(self.y_max + d[3], y_min + 1, height))
        return Box2D(x_min, y_min, x_max, y_max)


@dataclass(frozen=True)
class Box3D:
    """A box over several slices, in voxel indices; every maximum is excluded.

    Parameters
    ----------
    x_min, y_min : float
    z_min : int
    x_max, y_max : float
    z_max : int

    Raises
    ------
    InvalidBox
        If a number is not finite, a slice index not whole, or the box empty.
    """

    x_min: float
    y_min: float
    z_min: int
    x_max: float
    y_max: float
    z_max: int

    def __post_init__(self) -> None:
        Box2D(self.x_min, self.y_min, self.x_max, self.y_max)
        if not all(_is_finite(z) and z == int(z) for z in (self.z_min, self.z_max)):
            raise InvalidBox(
                f"Box z {self.z_min}..{self.z_max} must be whole slice indices."
            )
        object.__setattr__(self, "z_min", int(self.z_min))
        object.__setattr__(self, "z_max", int(self.z_max))
        if not self.z_min < self.z_max:
            raise InvalidBox(
                f"Box z {self.z_min}..{self.z_max} is empty: the maximum is excluded "
                "and must be above the minimum."
            )

    @property
    def in_plane(self) -> Box2D:
        """The (x, y) part."""
        return Box2D(self.x_min, self.y_min, self.x_max, self.y_max)

    @property
    def middle_slice(self) -> int:
        """The slice in the middle, the lower of two."""
        return (self.z_min + self.z_max - 1) // 2

    @classmethod
    def on_slice(cls, slice_index: int, box: Box2D) -> "Box3D":
        """Return a box that covers one slice."""
        return cls(
            box.x_min, box.y_min, slice_index, box.x_max, box.y_max, slice_index + 1
        )

    def clip(self, depth: int, height: int, width: int) -> "Box3D":
        """Return the part inside a volume.

        Parameters
        ----------
        depth, height, width : int
            Of the volume: slices, rows, columns.

        Raises
        ------
        InvalidBox
            If nothing of the box lies inside.
        """
        z_min, z_max = max(self.z_min, 0), min(self.z_max, depth)
        if z_min >= z_max:
            raise InvalidBox(
                f"Box z {self.z_min}..{self.z_max} lies outside the volume of "
                f"{depth} slices (0 to {depth - 1})."
            )
        box = self.in_plane.clip(height, width)
        return Box3D(box.x_min, box.y_min, z_min, box.x_max, box.y_max, z_max)


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
        if not (_is_finite(self.x) and _is_finite(self.y)):
            raise InvalidPrompt(f"Point {self.x}, {self.y} must hold finite numbers.")

    def clicks(self) -> tuple["Point", ...]:
        """Return what a model is shown of it: itself."""
        return (self,)


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


REFINEMENTS: dict[str, type[Any]] = {"points": Point}
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
    below = [key for key in keys if key.slice_index <= slice_index]
    above = [key for key in keys if key.slice_index >= slice_index]
    if not below or not above:
        return min(keys, key=lambda key: abs(key.slice_index - slice_index)).box
    first = max(below, key=lambda key: key.slice_index)
    last = min(above, key=lambda key: key.slice_index)
    if first.slice_index == last.slice_index:
        return first.box
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


def hull(boxes: Sequence[Box2D]) -> Box2D:
    """Return the smallest box around all boxes; at least one."""
    return Box2D(
        min(box.x_min for box in boxes),
        min(box.y_min for box in boxes),
        max(box.x_max for box in boxes),
        max(box.y_max for box in boxes),
    )


def parse_slice_box(text: str) -> Box3D:
    """Read ``z,x_min,y_min,x_max,y_max``: a box on one slice.

    Raises
    ------
    InvalidBox
        If it is not five numbers that make a box.
    """
    z, x_min, y_min, x_max, y_max = _numbers(text, "z,x_min,y_min,x_max,y_max")
    return Box3D(x_min, y_min, _whole(z, text), x_max, y_max, _whole(z, text) + 1)


def parse_box(text: str) -> Box3D:
    """Read ``x_min,y_min,z_min,x_max,y_max,z_max``: a box over several slices.

    Raises
    ------
    InvalidBox
        If it is not six numbers that make a box.
    """
    form = "x_min,y_min,z_min,x_max,y_max,z_max"
    x_min, y_min, z_min, x_max, y_max, z_max = _numbers(text, form)
    return Box3D(x_min, y_min, _whole(z_min, text), x_max, y_max, _whole(z_max, text))


def _is_finite(value: object) -> bool:
    """Tell whether something is a finite number; text and None are none."""
    return isinstance(value, Real) and math.isfinite(value)


def _numbers(text: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != form.count(",") + 1:
        raise InvalidBox(f"Box '{text}' must be numbers in the form {form}.")
    return numbers


def _whole(value: float, text: str) -> int:
    if not math.isfinite(value) or value != int(value):
        raise InvalidBox(f"Box '{text}': a slice index must be a whole number.")
    return int(value)
