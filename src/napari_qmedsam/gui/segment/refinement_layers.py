"""The layers of what refines boxes; a new kind is its module and a line here."""

from napari_qmedsam.gui.segment.actions import RefinementLayer, RefinementTool
from napari_qmedsam.gui.segment.point_layer import PointLayer

REFINEMENT_LAYERS: dict[str, type[RefinementLayer]] = {"points": PointLayer}
"""By the names that sessions have for them (`REFINEMENTS`)."""

TOOLS: dict[RefinementTool, str] = {
    tool: kind for kind, layer in REFINEMENT_LAYERS.items() for tool in layer.tools
}
"""Each with what it sets; button, key and help follow."""
