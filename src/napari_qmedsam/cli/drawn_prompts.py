"""What the options of segment draw: boxes, further pieces, slices without them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_qmedsam.errors import InvalidSettings

if TYPE_CHECKING:
    from napari_qmedsam.prompts import Absence, Box3D, Piece
    from napari_qmedsam.session import Session
    from napari_qmedsam.volumes.volume import Volume


@dataclass(frozen=True)
class DrawnPrompts:
    """Boxes and what refines them, as read from the options.

    Parameters
    ----------
    boxes : tuple of Box3D
        At least one.
    are_keys : bool
        Whether they are key boxes of one object, and not an object each.
    pieces : tuple of Piece
    absences : tuple of Absence
        Of the one object, like the pieces.
    """

    boxes: "tuple[Box3D, ...]"
    are_keys: bool
    pieces: "tuple[Piece, ...]"
    absences: "tuple[Absence, ...]"

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "DrawnPrompts":
        """Read the options of the command, by the names of its parameters.

        Raises
        ------
        InvalidBox, InvalidSettings
            If a box is none, or they do not go together.
        """
        from napari_qmedsam.prompts import Absence, Piece, parse_box, parse_slice_box

        on_slices = [parse_slice_box(text) for text in given["box"] or []]
        drawn = on_slices + [parse_box(text) for text in given["box3d"] or []]
        if not drawn:
            raise InvalidSettings("Give at least one --box or --box3d.")
        keys = given["keys"]
        are_apart = len({b.z_min for b in on_slices}) == len(on_slices)
        if keys and (given["box3d"] or not are_apart):
            raise InvalidSettings("--keys takes --box alone, one on a slice.")
        pieces = tuple(
            Piece.of(box.z_min, box.in_plane, takes_away)
            for name, takes_away in (("add", False), ("take", True))
            for box in map(parse_slice_box, given[name] or [])
        )
        absences = tuple(Absence(z) for z in given["absent"] or [])
        if (pieces or absences) and len(drawn) > 1 and not keys:
            raise InvalidSettings(
                "--add, --take and --absent are of one object: give one box, or --keys."
            )
        return cls(tuple(drawn), keys, pieces, absences)

    def check(self, volume: "Volume") -> None:
        """Refuse what lies outside of a volume.

        Raises
        ------
        InvalidBox
        """
        for box in self.boxes:
            box.clip(*volume.shape)
        for piece in self.pieces:
            piece.box.clip(*volume.shape[1:])

    def draw_in(self, session: "Session") -> None:
        """Make them a session's objects, numbered from 1."""
        for object_id, box in enumerate(
            self.boxes[:1] if self.are_keys else self.boxes, 1
        ):
            session.add_object(box, object_id=object_id)
        for key in self.boxes[1:] if self.are_keys else ():
            session.set_box(1, key.z_min, key.in_plane)
        if self.pieces or self.absences:
            session.change_object(1, pieces=self.pieces, absences=self.absences)
