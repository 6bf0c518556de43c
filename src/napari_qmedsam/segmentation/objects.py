"""Objects that a user is after, and what each of them says about a slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidBox, InvalidSettings
from napari_qmedsam.prompts import (
    REFINEMENTS,
    Absence,
    Box2D,
    Box3D,
    KeyBox,
    Piece,
    Point,
    Refinement,
    hull,
    interpolate,
)
from napari_qmedsam.volumes.label_bounds import Bounds
from napari_qmedsam.volumes.reslicing import axis_order
from napari_qmedsam.volumes.segments import Colour, Segment, palette_colour


@dataclass(frozen=True)
class ObjectPrompt:
    """One object: the id its voxels get, its boxes, and what refines them.

    Slices, rows and columns are those of the volume seen along `axis`, see
    :func:`~napari_qmedsam.volumes.reslicing.seen_along`.

    Parameters
    ----------
    object_id : int
    box : Box3D
        The slices of the object, and its box where there are no key boxes.
    axis : int
        Array axis that the slices lie across.
    keys : tuple of KeyBox
        Boxes drawn on single slices; the slices between are interpolated.
    refinements : tuple of Refinement
        Points, and whatever other kinds there are.
    """

    object_id: int
    box: Box3D
    axis: int = 0
    keys: tuple[KeyBox, ...] = ()
    refinements: tuple[Refinement, ...] = ()

    def box_on(self, slice_index: int) -> Box2D:
        """Return the box of one slice."""
        if not self.keys:
            return self.box.in_plane
        return interpolate(self.keys, slice_index)

    def refinements_on(self, slice_index: int) -> tuple[Refinement, ...]:
        """Return what refines the box of one slice."""
        return tuple(r for r in self.refinements if r.slice_index == slice_index)

    def clicks_on(self, slice_index: int) -> tuple[Point, ...]:
        """Return the points that a model is shown on one slice."""
        found = self.refinements_on(slice_index)
        return tuple(click for r in found for click in r.clicks())

    def pieces_on(self, slice_index: int) -> tuple[Piece, ...]:
        """Return the further boxes of one slice."""
        found = self.refinements_on(slice_index)
        return tuple(r for r in found if isinstance(r, Piece))

    def is_absent(self, slice_index: int) -> bool:
        """Tell whether the object was said not to be on this slice."""
        found = self.refinements_on(slice_index)
        return any(isinstance(r, Absence) for r in found)

    def reaches(self, slice_index: int) -> bool:
        """Tell whether the object may have voxels on this slice."""
        return self.box.z_min <= slice_index < self.box.z_max

    def is_key(self, slice_index: int) -> bool:
        """Tell whether a key box was drawn on this slice."""
        return any(key.slice_index == slice_index for key in self.keys)

    @property
    def has_gaps(self) -> bool:
        """Whether there are slices between two of its key boxes without one."""
        places = sorted(key.slice_index for key in self.keys)
        return len(places) > 1 and places[-1] - places[0] >= len(places)

    def on_slice(self, slice_index: int) -> "ObjectPrompt":
        """Return the prompt of one slice alone."""
        box = Box3D.on_slice(slice_index, self.box_on(slice_index))
        found = self.refinements_on(slice_index)
        return replace(self, box=box, keys=(), refinements=found)

    def clip(self, shape: tuple[int, int, int]) -> "ObjectPrompt":
        """Return the part inside a volume of this (Z, Y, X) shape.

        Raises
        ------
        InvalidBox
            If nothing of a box lies inside.
        """
        seen = tuple(shape[i] for i in axis_order(self.axis))

        def clipped(key: KeyBox) -> KeyBox:
            box = Box3D.on_slice(key.slice_index, key.box).clip(*seen)
            return KeyBox(key.slice_index, box.in_plane)

        keys = tuple(clipped(key) for key in self.keys)

        def inside(refinement: Refinement) -> Refinement:
            if not isinstance(refinement, Piece):
                return refinement
            box = refinement.box.clip(*seen[1:])
            return Piece.of(refinement.slice_index, box, refinement.takes_away)

        refinements = tuple(inside(r) for r in self.refinements)
        box = self.box.clip(*seen)
        return replace(self, box=box, keys=keys, refinements=refinements)


@dataclass(frozen=True)
class SegmentObject:
    """An object the user is after.

    Parameters
    ----------
    object_id : int
        Value of its voxels in the labels; 1 or more.
    box : Box3D
        Slices it may reach over, and the box around all its key boxes.
    name : str
    axis, keys, refinements
        As in :class:`ObjectPrompt`.
    is_visible : bool
        Whether viewers show its voxels and boxes.
    is_locked : bool
        Its voxels and boxes are not to change.
    colour : tuple of int, optional
        Red, green and blue, 0 to 255. Default: the palette's, by its id.
    """

    object_id: int
    box: Box3D
    name: str
    axis: int = 0
    keys: tuple[KeyBox, ...] = ()
    refinements: tuple[Refinement, ...] = ()
    is_visible: bool = True
    is_locked: bool = False
    colour: Colour | None = None

    @property
    def prompt(self) -> ObjectPrompt:
        """What a model is asked for it."""
        return ObjectPrompt(
            self.object_id, self.box, self.axis, self.keys, self.refinements
        )

    @property
    def segment(self) -> Segment:
        """Its name and colour as files keep them."""
        colour = self.colour or palette_colour(self.object_id)
        return Segment(self.object_id, self.name, colour=colour)

    @property
    def points(self) -> tuple[Point, ...]:
        """The points among its refinements."""
        return tuple(r for r in self.refinements if isinstance(r, Point))

    def with_keys(self, keys: Sequence[KeyBox]) -> "SegmentObject":
        """Return it with these key boxes, at least one; its slices stay.

        Raises
        ------
        InvalidBox
            If there is none, or two on one slice.
        """
        indices = [key.slice_index for key in keys]
        if not indices or len(set(indices)) < len(indices):
            raise InvalidBox(
                f"Key boxes of '{self.name}' lie on the slices {indices}; there must "
                "be one at least, and only one on a slice."
            )
        flat = hull([key.box for key in keys])
        z_min, z_max = self.box.z_min, self.box.z_max
        box = Box3D(flat.x_min, flat.y_min, z_min, flat.x_max, flat.y_max, z_max)
        ordered = tuple(sorted(keys, key=lambda key: key.slice_index))
        return replace(self, box=box, keys=ordered)

    def reaching(self, slice_index: int) -> "SegmentObject":
        """Return it with its slices extended to include one."""
        z_min = min(self.box.z_min, slice_index)
        z_max = max(self.box.z_max, slice_index + 1)
        return replace(self, box=replace(self.box, z_min=z_min, z_max=z_max))

    def with_key(self, slice_index: int, box: Box2D) -> "SegmentObject":
        """Return it with a key box on a slice, in place of the one there.

        An object without key boxes gets its own box as the first, on its
        middle slice.
        """
        keys = self.keys or (KeyBox(self.box.middle_slice, self.box.in_plane),)
        others = [key for key in keys if key.slice_index != slice_index]
        keyed = self.with_keys([*others, KeyBox(slice_index, box)])
        return keyed.reaching(slice_index)


def key_boxes(
    stack: NDArray[np.integer], number: int, bounds: Bounds
) -> tuple[KeyBox, ...]:
    """Return the tight box of a label on every slice that holds it.

    Parameters
    ----------
    stack : ndarray, (Z, Y, X) integer
        With the slices first.
    number : int
    bounds : Bounds
        Where the label lies.
    """
    slices, rows, columns = bounds
    keys = []
    for slice_index in range(slices.start, slices.stop):
        box = Box2D.around(stack[slice_index, rows, columns] == number)
        if box is not None:
            left, top = columns.start, rows.start
            moved = Box2D(
                box.x_min + left, box.y_min + top, box.x_max + left, box.y_max + top
            )
            keys.append(KeyBox(slice_index, moved))
    return tuple(keys)


def with_refinements(
    attributes: Mapping[str, Any], before: Sequence[Refinement] = ()
) -> dict[str, Any]:
    """Return attributes with those that are kinds of refinements among `refinements`.

    ``points=(a, b)`` puts these in place of all points there are; other kinds stay.

    Parameters
    ----------
    attributes : mapping
        Fields of :class:`SegmentObject`, and names of `REFINEMENTS`.
    before : sequence of Refinement
        What the object has.
    """
    settled = dict(attributes)
    given = {name: settled.pop(name) for name in REFINEMENTS if name in settled}
    if given:
        exchanged = tuple(REFINEMENTS[name] for name in given)
        kept = [r for r in before if not isinstance(r, exchanged)]
        settled["refinements"] = (*kept, *(r for new in given.values() for r in new))
    return settled


def changed_object(
    old: SegmentObject, shape: tuple[int, int, int], **attributes: Any
) -> SegmentObject:
    """Return an object with other attributes, inside a volume of this shape.

    Raises
    ------
    InvalidBox
        If a box lies outside the volume.
    InvalidSettings
        If it is locked, and more is to change than how it is shown.
    """
    changed = replace(old, **with_refinements(attributes, old.refinements))
    if changed.prompt == old.prompt:
        return changed
    if changed.is_locked:
        raise InvalidSettings(f"'{old.name}' is locked. Unlock it first.")
    if changed.keys:
        changed = changed.with_keys(changed.keys)
    clipped = changed.prompt.clip(shape)
    return replace(
        changed, box=clipped.box, keys=clipped.keys, refinements=clipped.refinements
    )
