"""Objects as plain data, for files that outlive a session."""

from dataclasses import asdict, replace
from typing import Any

from napari_qmedsam.prompts import REFINEMENTS, Box2D, Box3D, KeyBox
from napari_qmedsam.segmentation.objects import SegmentObject


def object_entry(o: SegmentObject) -> dict[str, Any]:
    """Return an object as a dict: each kind of refinement has a list of its own."""
    entry = asdict(replace(o, refinements=()))
    del entry["refinements"]
    for name, kind in REFINEMENTS.items():
        entry[name] = [asdict(r) for r in o.refinements if isinstance(r, kind)]
    return entry


def object_of(entry: dict[str, Any]) -> SegmentObject:
    """Return an object from its dict."""
    box = Box3D(**entry.pop("box"))
    keys = tuple(
        KeyBox(key["slice_index"], Box2D(**key["box"])) for key in entry.pop("keys")
    )
    refinements = tuple(
        kind(**stored)
        for name, kind in REFINEMENTS.items()
        for stored in entry.pop(name, ())
    )
    colour = entry.pop("colour", None)
    return SegmentObject(
        box=box,
        keys=keys,
        refinements=refinements,
        colour=None if colour is None else tuple(colour),
        **entry,
    )
