"""Boxes in a shapes layer: a rectangle for each box that was drawn.

A voxel is a square around its index: voxel 3 reaches from 2.5 to 3.5 in the
image layer's data coordinates. A side of a rectangle moves to the nearest
voxel border, so a rectangle from 2.5 to 6.5 covers voxels 3, 4, 5 and 6, which
is ``[3, 7)`` with the maximum excluded. A side exactly through a voxel's
centre goes to the higher border.

Which rectangle is which object stands in the layer's `features`, so it stays
true when rectangles are deleted, copied or moved. Several rectangles of one
object are its key boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Layer, Shapes
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidBox
from napari_qmedsam.gui.shared.colours import colour_of
from napari_qmedsam.gui.shared.gl_context import finish_in_own_context
from napari_qmedsam.gui.shared.layers import VOLUME, LayerData, placement
from napari_qmedsam.prompts import Box2D, Box3D, KeyBox
from napari_qmedsam.volumes.grid import display_affine
from napari_qmedsam.volumes.reslicing import axis_order
from napari_qmedsam.volumes.volume import Volume

ID, NAME, Z_MIN, Z_MAX = "object_id", "name", "z_min", "z_max"
"""Columns of the layer's features; `z_max` is excluded."""

TITLE = "title"
"""Column of the text beside a rectangle: its name, empty where it is hidden."""

NO_ID = 0
"""Id of a rectangle that has just been drawn."""

FLAT = 0.75
"""A shape thinner than so many voxels lies on one slice."""


@dataclass(frozen=True)
class BoxRow:
    """What the features say about one rectangle.

    Parameters
    ----------
    object_id : int
        `NO_ID` for a new rectangle.
    name : str
    z_min, z_max : int
        Slices of the object, maximum excluded; -1 where not chosen yet.
    is_visible : bool
        Not in the features, but in the title that is shown.
    """

    object_id: int = NO_ID
    name: str = ""
    z_min: int = -1
    z_max: int = -1
    is_visible: bool = True


@dataclass(frozen=True)
class PlacedBox:
    """Where a rectangle is: the axis its slice lies across, slice, and box."""

    axis: int
    slice_index: int
    box: Box2D

    @property
    def key(self) -> KeyBox:
        """Slice and box."""
        return KeyBox(self.slice_index, self.box)


@dataclass(frozen=True)
class DrawnBox:
    """An object's box and the slice on which its rectangle is drawn."""

    object_id: int
    name: str
    box: Box3D
    slice_index: int


def box_style(volume: Volume) -> dict[str, Any]:
    """Return how boxes look: outlines with their name, wide enough to be seen."""
    finish_in_own_context()
    return {
        "edge_width": max(volume.shape[1:]) / 250,
        "face_color": "transparent",
        "opacity": 1.0,
        "text": {
            "string": f"{{{TITLE}}}",
            "size": 9,
            "color": "white",
            "anchor": upper_left(*(np.diag(display_affine(volume))[1:3] < 0)),
            "translation": np.zeros(3),
        },
    }


def box_layer_data(boxes: Sequence[DrawnBox], volume: Volume, name: str) -> LayerData:
    """Return a shapes layer with a rectangle for each box."""
    rectangles = [
        rectangle(drawn.slice_index, drawn.box.in_plane, 3) for drawn in boxes
    ]
    rows = [
        BoxRow(drawn.object_id, drawn.name, drawn.box.z_min, drawn.box.z_max)
        for drawn in boxes
    ]
    arguments = {
        "name": name,
        "metadata": {VOLUME: volume},
        "shape_type": "rectangle",
        "features": features_of(rows),
        "edge_color": np.array([colour_of(drawn.object_id) for drawn in boxes]),
        **box_style(volume),
        **placement(volume),
    }
    return rectangles, arguments, "shapes"


def are_boxes(layer: Layer) -> bool:
    """Tell whether the shapes of a layer are boxes of objects."""
    return isinstance(layer, Shapes) and ID in layer.features


def features_of(rows: Sequence[BoxRow]) -> dict[str, NDArray]:
    """Return rows as the columns of a features table."""
    return {
        ID: np.array([row.object_id for row in rows], dtype=int),
        NAME: np.array([row.name for row in rows], dtype=object),
        Z_MIN: np.array([row.z_min for row in rows], dtype=int),
        Z_MAX: np.array([row.z_max for row in rows], dtype=int),
        TITLE: np.array(
            [row.name if row.is_visible else "" for row in rows], dtype=object
        ),
    }


def box_rows(layer: Shapes) -> list[BoxRow]:
    """Return what the features say, one row per shape.

    napari leaves rows behind where all shapes are taken away at once.
    """
    table = layer.features
    if ID not in table:
        return [BoxRow()] * layer.nshapes
    columns = [list(table[column]) for column in (ID, NAME, Z_MIN, Z_MAX)]
    return [
        BoxRow(_whole(i, NO_ID), _text(name), _whole(first, -1), _whole(last, -1))
        for i, name, first, last in zip(*columns, strict=True)
    ][: layer.nshapes]


def write_rows(layer: Shapes, rows: Sequence[BoxRow]) -> None:
    """Put rows back into the features; the next rectangle starts without id."""
    layer.features = features_of(rows)
    if rows:
        layer.feature_defaults = features_of([BoxRow()])


def box_on_slice(
    vertices: NDArray, boxes: Shapes, image: Image, axis: int = 0
) -> PlacedBox:
    """Return axis, slice and box, in voxels of the image, of one shape.

    Every corner goes through the world, so the two layers may differ in
    scale, sign and place.

    Parameters
    ----------
    vertices : ndarray, (n, ndim)
        In the data coordinates of `boxes`; other shapes count by their
        bounding box.
    boxes : Shapes
    image : Image
    axis : int
        The one in view, which decides for shapes that are flat along several.

    Raises
    ------
    InvalidBox
        If the shape is smaller than a voxel, or not on one slice.
    """
    corners = np.array(
        [image.world_to_data(boxes.data_to_world(vertex)) for vertex in vertices]
    )
    low, high = corners.min(axis=0), corners.max(axis=0)
    if image.ndim == 2:
        low, high = np.insert(low, 0, 0), np.insert(high, 0, 0)
    thickness = high - low
    if thickness[axis] > FLAT:
        axis = int(np.argmin(thickness))
    if thickness[axis] > FLAT:
        raise InvalidBox(
            "The rectangle reaches over several slices. Draw boxes while the view is "
            "not turned against the volume."
        )
    slice_index = int(np.floor((low[axis] + high[axis]) / 2 + 0.5))
    _, row, column = axis_order(axis)
    # Borders lie at half numbers: floor(v + 1) is the index after the border.
    first, last = np.floor(low + 1.0).astype(int), np.floor(high + 1.0).astype(int)
    y_min, x_min, y_max, x_max = (
        int(v[i]) for v in (first, last) for i in (row, column)
    )
    if x_min >= x_max or y_min >= y_max:
        raise InvalidBox(
            "The rectangle is smaller than a voxel. Press the mouse at one corner and "
            "drag to the other."
        )
    return PlacedBox(axis, slice_index, Box2D(x_min, y_min, x_max, y_max))


def rectangle(
    slice_index: int, box: Box2D, ndim: int, axis: int = 0
) -> NDArray[np.float64]:
    """Return the corners that run along the outer voxel borders of a box.

    Returns
    -------
    ndarray, (4, ndim)
        In voxel coordinates of the image.
    """
    top, bottom = box.y_min - 0.5, box.y_max - 0.5
    left, right = box.x_min - 0.5, box.x_max - 0.5
    corners = np.array([(top, left), (top, right), (bottom, right), (bottom, left)])
    if ndim == 2:
        return corners
    return np.insert(corners, axis, slice_index, axis=1)


def upper_left(rows: bool, columns: bool) -> str:
    """Return the corner of a rectangle that is its upper left on the screen.

    napari names corners by the array, which may be shown the other way round.

    Parameters
    ----------
    rows, columns : bool
        Whether they run against the screen.
    """
    return f"{'lower' if rows else 'upper'}_{'right' if columns else 'left'}"


# Helpers ------------------------------------------------------------------


def _whole(value: Any, otherwise: int) -> int:
    """Return a cell as int; napari fills new cells with NaN."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return otherwise


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
