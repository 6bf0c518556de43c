"""Segment CT and MR volumes from boxes with MedSAM-family models.

Importing this package loads neither torch nor Qt nor napari; each part loads
what it needs when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_qmedsam.prompts import Box2D, Box3D
    from napari_qmedsam.session import Session, open_session
    from napari_qmedsam.volumes import read_labels, read_volume, write_labels

__version__ = "0.1.0"

_HOMES = {
    "Box2D": "prompts",
    "Box3D": "prompts",
    "Session": "session",
    "open_session": "session",
    "read_labels": "volumes",
    "read_volume": "volumes",
    "write_labels": "volumes",
}
"""The names most scripts need, and the modules they live in."""

__all__ = [
    "Box2D",
    "Box3D",
    "Session",
    "__version__",
    "open_session",
    "read_labels",
    "read_volume",
    "write_labels",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
