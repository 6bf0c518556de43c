"""Small structures in a tile of the slice, where a model sees them larger.

A slice of 512 pixels is shrunk to the model's 256, and a rib to a dozen. Models that
do better for it (`ModelConfig.tiled_share`; ``benchmarks/tiles.py`` measures) are shown
a tile of half the slice's sides in place of the slice. There are nine tiles, each half
over the next, so that boxes near each other share one and it is encoded once.
"""

from dataclasses import dataclass

from numpy.typing import NDArray

from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.prompts import Box2D

LARGE = 1.5
"""How many times the model input a slice is to be before a tile shows more."""

CONTEXT = 1 / 32
"""Share of the slice that a tile must show around a box, the slice's own edge apart."""


@dataclass(frozen=True, order=True)
class Tile:
    """A part of a slice.

    Parameters
    ----------
    y, x : int
        Its first row and column.
    height, width : int
    """

    y: int
    x: int
    height: int
    width: int

    @classmethod
    def of(
        cls,
        box: Box2D,
        shape: tuple[int, int],
        config: ModelConfig,
        pixel_aspect: float = 1.0,
    ) -> "Tile | None":
        """Return the tile that a box is segmented in; None for the whole slice.

        Parameters
        ----------
        box : Box2D
            In pixels of the slice.
        shape : tuple of int
            Rows and columns of the slice.
        config : ModelConfig
        pixel_aspect : float
            Height of a pixel over its width.
        """
        rows, columns = shape
        longest = max(rows * pixel_aspect, columns)
        height, width = box.y_max - box.y_min, box.x_max - box.x_min
        is_small = max(height * pixel_aspect, width) <= config.tiled_share * longest
        if not is_small or longest <= LARGE * config.input_size:
            return None
        y, tile_height = _span(box.y_min, box.y_max, rows)
        x, tile_width = _span(box.x_min, box.x_max, columns)
        tile = cls(y, x, tile_height, tile_width)
        return tile if tile._shows(box, shape) else None

    def cut(self, image: NDArray) -> NDArray:
        """Return this part of a (Y, X) or (Y, X, 3) slice."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]

    def box(self, box: Box2D) -> Box2D:
        """Return a box of the slice in pixels of the tile."""
        y, x = self.y, self.x
        return Box2D(box.x_min - x, box.y_min - y, box.x_max - x, box.y_max - y)

    def holds(self, x: float, y: float) -> bool:
        """Tell whether a pixel of the slice lies in it."""
        return 0 <= x - self.x < self.width and 0 <= y - self.y < self.height

    def _shows(self, box: Box2D, shape: tuple[int, int]) -> bool:
        """Tell whether enough of the slice is seen on every side of a box."""
        sides = (
            (box.y_min, box.y_max, self.y, self.height, shape[0]),
            (box.x_min, box.x_max, self.x, self.width, shape[1]),
        )
        for low, high, start, length, size in sides:
            context = CONTEXT * size
            if start > 0 and low - start < context:
                return False
            if start + length < size and start + length - high < context:
                return False
        return True


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Return start and length along one axis of the tile whose middle is nearest."""
    length = (size + 1) // 2
    step = (size - length) / 2
    index = round(((low + high) / 2 - length / 2) / step) if step else 0
    return round(min(max(index, 0), 2) * step), length
