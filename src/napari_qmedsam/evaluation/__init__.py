"""How good a mask is: overlap and surface scores."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_qmedsam.evaluation.metrics import dice, normalized_surface_distance
    from napari_qmedsam.evaluation.scores import Scores

_HOMES = {
    "Scores": "scores",
    "dice": "metrics",
    "normalized_surface_distance": "metrics",
}

__all__ = ["Scores", "dice", "normalized_surface_distance"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
