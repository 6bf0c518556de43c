"""How good a mask is: overlap and surface scores."""

from napari_qmedsam.evaluation.metrics import dice, normalized_surface_distance

__all__ = ["dice", "normalized_surface_distance"]
