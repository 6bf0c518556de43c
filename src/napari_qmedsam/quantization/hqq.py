"""HQQ: half-quadratic quantization, from the weights alone.

Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models",
2023. Minimises ``|W - W_q|^p`` with p < 1, under which few large errors cost little,
by way of an auxiliary error W_e: a shrinkage gives W_e, then the grid is fitted to
``W - W_e`` by least squares, and the weight of the coupling grows.

The authors solve for the zero point and leave the step as it is. Zero points here are
whole numbers, so that their solution is rounded, and the step is solved for as well,
from the same least squares.
"""

import torch
from torch import Tensor

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.packed.scale_format import as_stored
from napari_qmedsam.checkpoints.packed.units import UnitMap
from napari_qmedsam.quantization.problem import Grid, LayerProblem, Solution
from napari_qmedsam.quantization.uniform import LARGEST_CODE, nearest_codes

NORM = 0.7
"""p."""

COUPLING, GROWTH = 10.0, 1.01
"""β at first, and the factor κ by which it grows."""

ITERATIONS = 20


def quantize_layer(problem: LayerProblem) -> Solution:
    """Quantize one layer by HQQ; every unit keeps the best grid it has met."""
    settings, units, weight = problem.settings, problem.units, problem.weight
    grid = problem.rounded(1.0 if settings.shrinkage is None else settings.shrinkage)
    best, least = grid, _misfit(units, weight, grid)
    coupling = COUPLING
    for _ in range(ITERATIONS):
        check_cancelled()
        scale, zero_point = refit(units, weight, grid, coupling)
        scale = as_stored(scale, problem.scale_format)
        codes = nearest_codes(
            weight, units.expand(scale), units.expand(zero_point), settings.bit_width
        )
        grid = Grid(scale, zero_point, codes)
        error = _misfit(units, weight, grid)
        better = error < least
        if not better.any():
            break
        least = torch.minimum(error, least)
        chosen = units.expand(better)
        best = Grid(
            torch.where(better, scale, best.scale),
            torch.where(better, zero_point, best.zero_point),
            torch.where(chosen, codes, best.codes),
        )
        coupling *= GROWTH
    return Solution(best, (problem.objective(best),))


def refit(
    units: UnitMap, weight: Tensor, grid: Grid, coupling: float
) -> tuple[Tensor, Tensor]:
    """Return step and zero point that fit ``W - W_e``, one after the other.

    ``z ← <(W - W_e) / δ - (Q - z)>`` rounded, the mean over the unit, as published;
    ``δ ← <Q (W - W_e)> / <Q²>`` with the codes moved along with z. A step that would
    not be positive stays as it is.
    """
    step, smallest = units.expand(grid.scale), units.expand(grid.zero_point)
    target = weight - shrink(weight - grid.codes * step, coupling)
    level = grid.codes - smallest
    ones = units.sum(torch.ones_like(weight))
    zero_point = (units.sum(target / step - level) / ones).round()
    zero_point = zero_point.clamp(-LARGEST_CODE, LARGEST_CODE)
    codes = level + units.expand(zero_point)
    energy, product = units.sum(codes.square()), units.sum(codes * target)
    fits = (energy > 0) & (product > 0)
    scale = torch.where(fits, product / energy.clamp(min=1), grid.scale)
    return scale, zero_point


def shrink(error: Tensor, coupling: float, norm: float = NORM) -> Tensor:
    """Return W_e: ``sign(x) max(|x| - |x|^(p - 1) / β, 0)``, the published operator."""
    size = error.abs()
    return error.sign() * (size - size.pow(norm - 1) / coupling).clamp(min=0)


def _misfit(units: UnitMap, weight: Tensor, grid: Grid) -> Tensor:
    """Sum of ``|W - W_q|`` over each unit, by which the authors stop."""
    return units.sum((weight - grid.codes * units.expand(grid.scale)).abs())
