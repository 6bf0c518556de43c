"""Prompts: boxes, and what refines them on single slices."""

from napari_qmedsam.prompts.boxes import Box2D, Box3D, hull, parse_box, parse_slice_box
from napari_qmedsam.prompts.refinements import (
    REFINEMENTS,
    Absence,
    KeyBox,
    Piece,
    Point,
    Refinement,
    interpolate,
    keys_around,
)

__all__ = [
    "Absence",
    "Box2D",
    "Box3D",
    "KeyBox",
    "Piece",
    "Point",
    "REFINEMENTS",
    "Refinement",
    "hull",
    "interpolate",
    "keys_around",
    "parse_box",
    "parse_slice_box",
]
