"""What a model is shown of a slice for a box: all of it, or the tile it lies in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.prompts import Box2D, Point
from napari_qmedsam.segmentation.tiles import Tile

InputBox = tuple[float, float, float, float]
"""Corner pixels of a box in the model input."""

InputPoint = tuple[float, float, float]
"""(x, y) of a point in the model input, and 1 where the object is, else 0."""

NOT_SHOWN = -20.0
"""Logit of pixels beside a tile."""


@dataclass(frozen=True)
class FieldOfView:
    """The part of a slice that a model is shown, and how it lies in the model input.

    Boxes, points and masks are in pixels of the slice, whichever part is shown.

    Parameters
    ----------
    height, width : int
        Of the slice.
    geometry : SliceGeometry
        Of the part.
    tile : Tile, optional
        Without one it is the whole slice.
    """

    height: int
    width: int
    geometry: SliceGeometry
    tile: Tile | None = None

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        shape: tuple[int, int],
        pixel_aspect: float = 1.0,
        box: Box2D | None = None,
        points: Sequence[Point] = (),
    ) -> "FieldOfView":
        """Return what is shown for a box and its points; without a box the slice.

        Parameters
        ----------
        config : ModelConfig
        shape : tuple of int
            Rows and columns of the slice.
        pixel_aspect : float
            Height of a pixel over its width.
        box : Box2D, optional
        points : sequence of Point
            All of them have to lie in the tile.
        """
        tile = None if box is None else Tile.of(box, shape, config, pixel_aspect)
        if tile is not None and not all(tile.holds(p.x, p.y) for p in points):
            tile = None
        part = shape if tile is None else (tile.height, tile.width)
        return cls(*shape, SliceGeometry.of(config, *part, pixel_aspect), tile)

    def cut(self, image: NDArray) -> NDArray:
        """Return the part of a (Y, X) or (Y, X, 3) slice that is shown."""
        return image if self.tile is None else self.tile.cut(image)

    def box_to_input(self, box: Box2D, margin: float = 0.0) -> InputBox:
        """Corner pixels of a box in the model input, wider by so many of its pixels."""
        own = box if self.tile is None else self.tile.box(box)
        x_min, y_min, x_max, y_max = self.geometry.box_to_input(own)
        side = float(self.geometry.input_size)
        return (
            max(x_min - margin, 0.0),
            max(y_min - margin, 0.0),
            min(x_max + margin, side),
            min(y_max + margin, side),
        )

    def points_to_input(self, points: Sequence[Point]) -> tuple[InputPoint, ...]:
        """Return points as the model takes them."""
        y, x = (0, 0) if self.tile is None else (self.tile.y, self.tile.x)
        return tuple(
            (*self.geometry.point_to_input(p.x - x, p.y - y), float(p.is_positive))
            for p in points
        )

    def mask_to_input_box(self, mask: NDArray[np.bool_]) -> InputBox | None:
        """Box of a (Y, X) mask in the model input; see :class:`SliceGeometry`."""
        return self.geometry.mask_to_input_box(self.cut(mask))

    def logits_to_masks(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return (n, Y, X) masks of the slice, empty beside what is shown."""
        masks = self.geometry.logits_to_masks(logits)
        if self.tile is None:
            return masks
        whole = np.zeros((len(masks), self.height, self.width), bool)
        for one, mask in zip(whole, masks, strict=True):
            self.tile.cut(one)[:] = mask
        return whole

    def logits_on(
        self, low_res: NDArray[np.floating], height: int, width: int
    ) -> NDArray[np.floating]:
        """Return low-res logits on a grid of (height, width) pixels over the slice."""
        if self.tile is None:
            return self.geometry.logits_on(low_res, height, width)
        down, across = height / self.height, width / self.width
        tile = self.tile
        scaled = Tile(
            round(tile.y * down),
            round(tile.x * across),
            round((tile.y + tile.height) * down) - round(tile.y * down),
            round((tile.x + tile.width) * across) - round(tile.x * across),
        )
        whole = np.full((height, width), NOT_SHOWN, np.float32)
        part = self.geometry.logits_on(low_res, scaled.height, scaled.width)
        scaled.cut(whole)[:] = part
        return whole


@dataclass(frozen=True)
class ModelPrompt:
    """What a model is asked of a slice.

    Parameters
    ----------
    view : FieldOfView
    box : InputBox
    points : tuple of InputPoint
    """

    view: FieldOfView
    box: InputBox
    points: tuple[InputPoint, ...] = ()

    def widened(self, share: float, least: float) -> "ModelPrompt":
        """Return it with a box each of whose sides goes out.

        Parameters
        ----------
        share : float
            Of the box's width or height.
        least : float
            Pixels of the model input.
        """
        x_min, y_min, x_max, y_max = self.box
        across = max(share * (x_max - x_min), least)
        down = max(share * (y_max - y_min), least)
        size = float(self.view.geometry.input_size)
        box = (
            max(x_min - across, 0.0),
            max(y_min - down, 0.0),
            min(x_max + across, size),
            min(y_max + down, size),
        )
        return replace(self, box=box)
