"""A part of the body: a solid with its tissue, name and place."""

from dataclasses import dataclass

import numpy as np

from napari_qmedsam.phantoms.canvas import KEEP, Canvas
from napari_qmedsam.phantoms.fields import Mask
from napari_qmedsam.phantoms.shapes import Solid
from napari_qmedsam.phantoms.tissues import Tissue

Position = tuple[float, float, float]
"""x, y, z in mm."""

Span = tuple[float, float]
"""Lowest and highest z (mm) that will be cut; what lies outside may be missing."""


@dataclass(frozen=True, eq=False)
class Part:
    """What is painted where a solid meets the cut.

    Parameters
    ----------
    solid : EllipseStack or Tube
    tissue : Tissue
        Of the inside.
    name : str
        The object; empty for none, ``=`` to leave the object as it is.
    within : str
        Region: body, wall, cavity, abdomen or lung.
    over : Tissue or None
        Paint only over this tissue (vessels in the liver).
    wall_mm, wall : float, Tissue
        Outer layer; 0 for none.
    gas_above : float or None
        The inside in front of this y (mm) holds gas.
    """

    solid: Solid
    tissue: Tissue
    name: str = "="
    within: str = "abdomen"
    over: Tissue | None = None
    wall_mm: float = 0.0
    wall: Tissue = Tissue.GUT_WALL
    gas_above: float | None = None

    def paint(
        self,
        canvas: Canvas,
        z: float,
        regions: dict[str, Mask],
        numbers: dict[str, int],
    ) -> None:
        """Paint the cut at height z, if there is one."""
        mask = self.solid.mask(canvas, z)
        region = regions.get(self.within)
        if mask is None or region is None:
            return
        if self.over is not None:
            region = region & (canvas.tissue == self.over).view(np.uint8)
        number = KEEP if self.name == "=" else numbers.get(self.name, 0)
        outer = self.wall if self.wall_mm > 0 else self.tissue
        canvas.paint(mask, outer, number, region)
        inside = mask
        if self.wall_mm > 0:
            content = self.solid.mask(canvas, z, self.wall_mm)
            if content is None:
                return
            inside = content
            canvas.paint(inside, self.tissue, KEEP, region)
        if self.gas_above is not None:
            row = int(round(self.gas_above * canvas.scale + canvas.origin[1]))
            gas = inside.copy()
            gas[max(row, 0) :] = 0
            canvas.paint(gas, Tissue.GAS, KEEP, region)


def bone(solid: Solid, name: str, cortex_mm: float) -> Part:
    """Return a bone: marrow within a cortex of some thickness."""
    return Part(
        solid, Tissue.MARROW, name, "body", wall_mm=cortex_mm, wall=Tissue.CORTICAL_BONE
    )
