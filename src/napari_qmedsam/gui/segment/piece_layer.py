"""The layer of an object's further boxes: those that add to it, and that take away."""

from collections.abc import Callable

import numpy as np
from napari.layers import Image, Layer, Shapes
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidBox, InvalidSettings
from napari_qmedsam.gui.shared.colours import colour_of
from napari_qmedsam.gui.shared.layers import is_of
from napari_qmedsam.gui.shared.notices import Say
from napari_qmedsam.gui.shared.rectangles import box_on_slice, box_style, rectangle
from napari_qmedsam.gui.shared.session_layer import Edit, Objects, PromptLayer
from napari_qmedsam.prompts import Box3D, Piece
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.session import Session

PIECE_OF, TAKES_AWAY, SIGN = "piece_of", "takes_away", "sign"
"""Columns of the features: the object's id, what the box does, and how it is told."""

TAKING = (1.0, 0.3, 0.3, 1.0)
"""Edge of a box that takes away, whatever object it is of: red, as for points."""

TAKEN_FACE = (1.0, 0.3, 0.3, 0.2)
"""Its face; that of a box that adds is clear."""


class PieceLayer(PromptLayer[Shapes]):
    """Further boxes of objects, to be moved and deleted; they are made by the menu.

    A box that adds has a thin outline in its object's colour and a plus, one that
    takes away is red, filled faintly, and has a minus.

    Parameters
    ----------
    image, session, say, on_edit
        As for :class:`PromptLayer`.
    colour : callable
        Returns the RGBA of an object by its id.
    """

    def __init__(
        self,
        image: Image,
        session: Session,
        say: Say,
        on_edit: Callable[[list[Edit]], None] = lambda _: None,
        colour: Callable[[int], NDArray[np.floating]] = colour_of,
    ) -> None:
        super().__init__(image, session, say, on_edit)
        self._colour = colour

    @property
    def is_wanted(self) -> bool:
        """Whether there is a piece to be seen, and no layer yet."""
        return self.layer is None and bool(_wanted(self.session.objects))

    def make(self) -> Shapes:
        """Return an empty layer that lies on the image."""
        style = box_style(self.session.volume)
        style["edge_width"] /= 2
        style["text"] |= {
            "string": f"{{{SIGN}}}",
            "size": 14,
            "translation": np.zeros(self.image.ndim),
        }
        return Shapes(
            ndim=self.image.ndim,
            features=_features([]),
            **style,
            **self._common("pieces"),
        )

    def fits(self, layer: Layer) -> bool:
        """Tell whether these are pieces of objects on this volume."""
        is_ours = isinstance(layer, Shapes) and PIECE_OF in layer.features
        return is_ours and is_of(layer, self.session.volume)

    def remove(self) -> None:
        """Take the pieces of every object away that is not locked."""
        for object_id, o in list(self.session.objects.items()):
            if _pieces(o) and not o.is_locked:
                self.session.change_object(object_id, pieces=())

    def follow(self, before: Objects) -> None:
        """Draw the pieces anew if other ones are to be seen."""
        if _wanted(before) != _wanted(self.session.objects):
            self.show()

    def read(self) -> None:
        """Make the pieces of the session's objects what the layer says.

        Raises
        ------
        InvalidBox
            If a rectangle was drawn here, or one is no box; all are put back.
        InvalidSettings
            If an object is locked; its pieces have been put back.
        """
        if self.layer is None:
            return
        objects = self.session.objects
        found: dict[int, list[Piece]] = {i: [] for i, o in objects.items()}
        for i, o in objects.items():
            found[i] += () if o.is_visible else _pieces(o)
        try:
            for vertices, object_id, takes_away in zip(
                self.layer.data, *self._columns(), strict=False
            ):
                if object_id not in found:
                    raise InvalidBox(
                        "A piece is drawn as a box of its own, and given to an object "
                        "by Shape → Box adds to, or Box takes from."
                    )
                piece = self._piece(vertices, objects[object_id].axis, takes_away)
                found[object_id].append(piece)
            for object_id, pieces in found.items():
                if set(pieces) != set(_pieces(objects[object_id])):
                    self.session.change_object(object_id, pieces=tuple(pieces))
        except (InvalidBox, InvalidSettings):
            self.show()
            raise

    def show(self) -> None:
        """Draw the pieces anew, as the session's objects say."""
        if self.layer is None:
            return
        wanted = _wanted(self.session.objects)
        with self._showing():
            if self.layer.nshapes:
                self.layer.selected_data = set(range(self.layer.nshapes))
                self.layer.remove_selected()
            if wanted:
                ids = [(object_id, piece.takes_away) for object_id, _, piece in wanted]
                self.layer.add_rectangles(
                    [
                        rectangle(p.slice_index, p.box, self.image.ndim, axis)
                        for _, axis, p in wanted
                    ],
                    edge_color=np.array([self._edge(*row) for row in ids]),
                    face_color=np.array(
                        [TAKEN_FACE if takes else (0.0,) * 4 for _, takes in ids]
                    ),
                )
                self.layer.features = _features(ids)
                # What is drawn here is no object's: see `read`.
                self.layer.feature_defaults = _features([(0, False)])
                self.layer.refresh_text()

    # Helpers --------------------------------------------------------------

    def _columns(self) -> tuple[list[int], list[bool]]:
        features = self.taken.features
        ids = [int(i) for i in features[PIECE_OF].fillna(0)]
        return ids, [bool(takes) for takes in features[TAKES_AWAY].fillna(False)]

    def _edge(self, object_id: int, takes_away: bool) -> NDArray[np.floating]:
        return np.array(TAKING) if takes_away else self._colour(object_id)

    def _piece(self, vertices: NDArray, axis: int, takes_away: bool) -> Piece:
        place = box_on_slice(vertices, self.taken, self.image, axis)
        if place.axis != axis:
            raise InvalidBox("A piece lies on a slice of its object's own view.")
        box = Box3D.on_slice(place.slice_index, place.box)
        box = box.clip(*self.session.shape_along(axis))
        return Piece.of(place.slice_index, box.in_plane, takes_away)

    def _edits(self, old: SegmentObject | None, new: SegmentObject) -> set[int]:
        """Return the slices on which pieces came or went."""
        known = set() if old is None else set(_pieces(old))
        return {piece.slice_index for piece in known ^ set(_pieces(new))}


def _wanted(objects: Objects) -> list[tuple[int, int, Piece]]:
    """Return object, axis and piece of every rectangle there is to be."""
    return [
        (o.object_id, o.axis, piece)
        for o in objects.values()
        if o.is_visible
        for piece in _pieces(o)
    ]


def _pieces(o: SegmentObject) -> tuple[Piece, ...]:
    return tuple(r for r in o.refinements if isinstance(r, Piece))


def _features(rows: list[tuple[int, bool]]) -> dict[str, NDArray]:
    """Return object and kind of each rectangle as the columns of a features table."""
    return {
        PIECE_OF: np.array([object_id for object_id, _ in rows], dtype=int),
        TAKES_AWAY: np.array([takes for _, takes in rows], dtype=bool),
        SIGN: np.array(["−" if takes else "+" for _, takes in rows], dtype=object),
    }
