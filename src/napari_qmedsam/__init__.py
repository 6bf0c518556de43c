"""Segment CT and MR volumes from boxes with MedSAM-family models.

Importing this package loads neither torch nor Qt nor napari; each name loads what
it needs when it is first used. ``docs/api.md`` says what is stable.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_qmedsam.errors import QMedSAMError
    from napari_qmedsam.evaluation.metrics import dice, normalized_surface_distance
    from napari_qmedsam.opening import open_session
    from napari_qmedsam.prompts import Box2D, Box3D, KeyBox, Point
    from napari_qmedsam.segmentation.propagation import Direction, Follow
    from napari_qmedsam.session import Session
    from napari_qmedsam.volumes import (
        Volume,
        Window,
        read_labels,
        read_volume,
        write_labels,
        write_volume,
    )
    from napari_qmedsam.workflows import compare, load_model, quantize

__version__ = "0.1.0"

_HOMES = {
    "Box2D": "prompts",
    "Box3D": "prompts",
    "Direction": "segmentation.propagation",
    "KeyBox": "prompts",
    "Point": "prompts",
    "Follow": "segmentation.propagation",
    "QMedSAMError": "errors",
    "Session": "session",
    "Volume": "volumes",
    "Window": "volumes",
    "compare": "workflows",
    "dice": "evaluation.metrics",
    "load_model": "workflows",
    "normalized_surface_distance": "evaluation.metrics",
    "open_session": "opening",
    "quantize": "workflows",
    "read_labels": "volumes",
    "read_volume": "volumes",
    "write_labels": "volumes",
    "write_volume": "volumes",
}
"""The names most scripts need, and the modules they live in."""

__all__ = [
    "Box2D",
    "Box3D",
    "Direction",
    "KeyBox",
    "Point",
    "Follow",
    "QMedSAMError",
    "Session",
    "Volume",
    "Window",
    "__version__",
    "compare",
    "dice",
    "load_model",
    "normalized_surface_distance",
    "open_session",
    "quantize",
    "read_labels",
    "read_volume",
    "write_labels",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
