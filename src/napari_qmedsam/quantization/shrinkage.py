"""COMQ's λ, which shrinks the first scale, searched for each unit.

The largest weight of a unit need not be a level: clipping a few outliers buys
finer levels for all others. The papers leave λ to the user; here every unit
takes the λ under which plain rounding does best, where levels are few.
"""

import torch
from torch import Tensor

from napari_qmedsam.checkpoints.packed.units import UnitMap
from napari_qmedsam.quantization.uniform import fit_grid, nearest_codes

LOWEST = {1: 0.3, 2: 0.3, 3: 0.4}
"""Smallest λ that is tried, by bit-width. From 4 bits on clipping costs more than
finer levels bring, and λ is 1 (benchmarks/calibration_choice.py)."""

CANDIDATES = 8
"""How many values of λ are tried, evenly spaced up to 1."""


def search_shrinkage(
    units: UnitMap, weight: Tensor, importance: Tensor, bit_width: int
) -> tuple[Tensor, Tensor]:
    """Return the λ per unit under which rounding errs least, and that error.

    The error is ``Σ ‖x_i‖² (w - w_q)²`` over the unit, the objective with the
    correlations between inputs left out.

    Parameters
    ----------
    units : UnitMap
    weight : Tensor, (groups, m, n)
    importance : Tensor, (groups, m)
        ``‖x_i‖²`` of each input: the diagonal of XᵀX.
    bit_width : int
        1 to 8.
    """
    bounds = units.minimum(weight), units.maximum(weight)
    tried = [1.0]
    if bit_width in LOWEST:
        tried = torch.linspace(1, LOWEST[bit_width], CANDIDATES).tolist()
    best = torch.ones_like(bounds[0])
    least = torch.full_like(best, torch.inf)
    for candidate in tried:
        scale, zero_point = fit_grid(*bounds, bit_width, candidate)
        step = units.expand(scale)
        codes = nearest_codes(weight, step, units.expand(zero_point), bit_width)
        misfit = torch.addcmul(weight, codes, step, value=-1).square_()
        error = units.sum(misfit.mul_(importance[:, :, None]))
        best = torch.where(error < least, candidate, best)
        least = torch.minimum(error, least)
    return best, least
