"""Boxes in voxel indices, on a slice and over several, and how they are written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidBox


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
        if not all(is_finite(value) for value in values):
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
        if not all(is_finite(z) and z == int(z) for z in (self.z_min, self.z_max)):
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


def is_finite(value: object) -> bool:
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
