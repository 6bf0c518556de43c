"""What a method is given to solve, one layer, and what it returns."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from napari_qmedsam.checkpoints.packed.scale_format import ScaleFormat, as_stored
from napari_qmedsam.checkpoints.packed.units import UnitMap
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.quantization.uniform import fit_grid, nearest_codes


@dataclass(frozen=True)
class Grid:
    """Codes, with scale and zero point of each unit.

    Parameters
    ----------
    scale, zero_point : Tensor, one per unit
    codes : Tensor, (groups, m, n)
        Whole numbers, each from z to z + 2**b - 1.
    """

    scale: Tensor
    zero_point: Tensor
    codes: Tensor


@dataclass(frozen=True)
class Solution:
    """A layer on its grid, and how it was reached.

    Parameters
    ----------
    grid : Grid
    objectives : tuple of float
        ``‖X W_q - X W‖²`` after each sweep; never rises.
    """

    grid: Grid
    objectives: tuple[float, ...]


@dataclass(frozen=True)
class LayerProblem:
    """A layer to be quantized.

    Parameters
    ----------
    weight : Tensor, (groups, m, n)
        Inputs by outputs.
    gram : Tensor, (groups, m, m)
        XᵀX of the calibration inputs, of the same dtype.
    units : UnitMap
    settings : QuantizationSettings
    scale_format : ScaleFormat
        FLOAT16 or FLOAT32: scales are rounded to it, so that objectives hold for
        the file.
    """

    weight: Tensor
    gram: Tensor
    units: UnitMap
    settings: QuantizationSettings
    scale_format: ScaleFormat

    @property
    def importance(self) -> Tensor:
        """``‖x_i‖²`` of each input, (groups, m)."""
        return self.gram.diagonal(dim1=1, dim2=2)

    @cached_property
    def nearest(self) -> Solution:
        """Rounding to nearest with λ = 1: what other solutions are held against."""
        grid = self.rounded(1.0)
        return Solution(grid, (self.objective(grid),))

    def rounded(self, shrinkage: float | Tensor) -> Grid:
        """Return the weight rounded to the nearest levels of section 2.2.

        Parameters
        ----------
        shrinkage : float or Tensor, one per unit
            λ in the papers.
        """
        units, bit_width = self.units, self.settings.bit_width
        bounds = units.minimum(self.weight), units.maximum(self.weight)
        scale, zero_point = fit_grid(*bounds, bit_width, shrinkage)
        scale = as_stored(scale, self.scale_format)
        codes = nearest_codes(
            self.weight, units.expand(scale), units.expand(zero_point), bit_width
        )
        return Grid(scale, zero_point, codes)

    def objective(self, grid: Grid) -> float:
        """``‖X W_q - X W‖²`` of the layer on a grid."""
        error = self.weight - grid.codes * self.units.expand(grid.scale)
        product = error * (self.gram @ error)
        return max(float(product.sum(dtype=torch.float64)), 0.0)
