"""What the rectangles of a layer say of objects."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidBox
from napari_qmedsam.gui.shared.rectangles import BoxRow, PlacedBox
from napari_qmedsam.gui.shared.session_layer import Objects
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.objects import SegmentObject


@dataclass
class BoxReading:
    """What the rectangles say, one row each."""

    rows: list[BoxRow] = field(default_factory=list)
    places: dict[int, list[PlacedBox]] = field(default_factory=dict)
    unusable: list[int] = field(default_factory=list)
    fault: InvalidBox | None = None
    is_click: bool = False


def row_of(o: SegmentObject) -> BoxRow:
    """Return what the features say of an object's rectangles."""
    return BoxRow(o.object_id, o.name, o.box.z_min, o.box.z_max, o.is_visible)


def are_same(one: tuple[int, NDArray], other: tuple[int, NDArray]) -> bool:
    """Tell whether two rectangles are one object's, with equal vertices."""
    return one[0] == other[0] and np.array_equal(one[1], other[1])


def clashes(place: PlacedBox | None, known: list[PlacedBox]) -> bool:
    """Tell whether a rectangle cannot be one more key box beside these."""
    if place is None:
        return False
    return any(
        other.axis != place.axis or other.slice_index == place.slice_index
        for other in known
    )


def object_of_boxes(
    row: BoxRow, places: list[PlacedBox], old: SegmentObject | None
) -> SegmentObject:
    """Return the object that its rectangles say, from what it was before."""
    keys = [place.key for place in places]
    axis = places[0].axis
    if old is None or old.axis != axis:
        alone = Box3D.on_slice(keys[0].slice_index, keys[0].box)
        made = SegmentObject(row.object_id, alone, row.name, axis)
        had: set[int] = set()
        if old is not None:
            made = replace(old, box=alone, axis=axis)
    else:
        made, had = old, {key.slice_index for key in old.keys}
    made = made.with_keys(keys)
    for key in keys:
        if key.slice_index not in had:
            made = made.reaching(key.slice_index)
    return made


def box_of(made: SegmentObject, row: BoxRow) -> Box3D:
    """Return an object's box, over the slices that a layer made earlier gives it."""
    if not 0 <= row.z_min < row.z_max:
        return made.box
    return replace(made.box, z_min=row.z_min, z_max=row.z_max)


def drawn_of(objects: Objects) -> dict[int, tuple]:
    """Return what of the objects their rectangles depend on."""
    return {i: (o.axis, o.keys or o.box) for i, o in objects.items()}
