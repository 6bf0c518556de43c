"""GPTQ: each input's rounding error is made up for by all inputs after it.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", ICLR 2023, algorithm 1. With ``H = XᵀX`` and U the upper
Cholesky factor of its inverse, row i of the weight is rounded, and its error over
U[i, i] is taken off the rows after it along U[i, i+1:]: those move to where they make
up for it best. One visit to each row; scales come from the weights alone. Damping,
which the paper adds to H here, is the calibration's for all methods.

Rows are visited in their order, and a group's grid is fitted to its weights when it
is reached, or by descending ``‖x_i‖`` (the authors' ``act-order``), with the grids of
the float weights, since a group's rows are not together then.
"""

import torch
from torch import Tensor

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.packed.granularity import GranularityKind, Permutation
from napari_qmedsam.checkpoints.packed.scale_format import as_stored
from napari_qmedsam.errors import CalibrationMismatch
from napari_qmedsam.quantization.comq import (
    reordered,
    solve,
    take_rows,
    without_dead_inputs,
)
from napari_qmedsam.quantization.problem import Grid, LayerProblem, Solution
from napari_qmedsam.quantization.settings import Order
from napari_qmedsam.quantization.uniform import fit_grid, nearest_codes

DAMPING = (0.0, 0.01, 0.1)
"""Shares of the mean energy that are tried in turn until H has an inverse; the
second is the authors' own."""

SMALLEST_PIVOT = 1e-10
"""Share of the mean energy below which a pivot counts as 0."""


def quantize_then_descend(problem: LayerProblem) -> Solution:
    """Quantize one layer by GPTQ, then by COMQ's sweeps from its codes.

    Coordinate descent ends where no single code can be changed for the better; from
    GPTQ's codes it ends lower than from the float weight. Permuted rows are units
    like others, with the grids of the float weights.
    """
    return solve(problem, quantize_layer(problem).grid, from_codes=True)


def quantize_layer(problem: LayerProblem) -> Solution:
    """Quantize one layer by GPTQ; λ is 1 unless the settings give it."""
    settings, units = problem.settings, problem.units
    shrinkage = 1.0 if settings.shrinkage is None else settings.shrinkage
    gram, inverse = without_dead_inputs(problem.gram)
    weight, rows = problem.weight, None
    if settings.order is Order.DESCENDING:
        rows = inverse.argsort(dim=1, stable=True)
        weight, gram, inverse = reordered(weight, gram, inverse, rows)
        units = units.reordered(rows)
    factor = inverse_factor(gram, inverse == 0)
    start = problem.rounded(shrinkage)
    scale, zero_point = start.scale.clone(), start.zero_point.clone()
    step, smallest = units.expand(scale).clone(), units.expand(zero_point).clone()
    work, codes = weight.clone(), torch.empty_like(weight)

    m, group = weight.shape[1], 0
    granularity, permutation = settings.units
    in_place = rows is None and permutation is Permutation.NONE
    if granularity.kind is GranularityKind.GROUP and in_place:
        group = min(granularity.group_size, m)
    block = settings.block_size
    if group:
        block = max(1, block // group) * group  # groups lie whole in a block
    for first in range(0, m, block):
        check_cancelled()
        inside = slice(first, min(first + block, m))
        local, corner = work[:, inside].clone(), factor[:, inside, inside]
        errors = torch.empty_like(local)
        for k in range(local.shape[1]):
            if group and k % group == 0:
                there = local[:, k : k + group]
                bounds = there.amin(dim=1), there.amax(dim=1)
                own, low = fit_grid(*bounds, settings.bit_width, shrinkage)
                own = as_stored(own, problem.scale_format)
                number = (first + k) // group
                scale[:, number], zero_point[:, number] = own, low
                members = slice(first + k, first + k + group)
                step[:, members], smallest[:, members] = own[:, None], low[:, None]
            i = first + k
            code = nearest_codes(
                local[:, k], step[:, i], smallest[:, i], settings.bit_width
            )
            codes[:, i] = code
            errors[:, k] = (local[:, k] - code * step[:, i]) / corner[:, k, k, None]
            local[:, k + 1 :].addcmul_(
                corner[:, k, k + 1 :, None], errors[:, k, None], value=-1
            )
        after = factor[:, inside, inside.stop :]
        work[:, inside.stop :].baddbmm_(after.mT, errors, alpha=-1)
    if rows is not None:
        codes = take_rows(codes, rows.argsort(dim=1))
    grid = Grid(as_stored(scale, problem.scale_format), zero_point, codes)
    return Solution(grid, (problem.objective(grid),))


def inverse_factor(gram: Tensor, dead: Tensor) -> Tensor:
    """Return the upper Cholesky factor of the inverse of H.

    Parameters
    ----------
    gram : Tensor, (groups, m, m)
        0 in rows and columns of dead inputs.
    dead : Tensor, (groups, m) bool
        Inputs without energy; 1 on the diagonal stands for it.

    Returns
    -------
    Tensor, (groups, m, m)
        ``UᵀU = H⁻¹``, worked out in float64.

    Raises
    ------
    CalibrationMismatch
        If H is far from positive definite.
    """
    energy = gram.diagonal(dim1=1, dim2=2).double().mean(dim=1, keepdim=True)
    for share in DAMPING:
        added = torch.diag_embed(share * energy + dead)
        lower, failed = torch.linalg.cholesky_ex(gram.double() + added)
        pivots = lower.diagonal(dim1=1, dim2=2).square()
        if failed.any() or (pivots < SMALLEST_PIVOT * energy).any():
            continue
        upper, failed = torch.linalg.cholesky_ex(
            torch.cholesky_inverse(lower), upper=True
        )
        if not failed.any() and torch.isfinite(upper).all():
            return upper.to(gram.dtype)
    raise CalibrationMismatch(
        "The Gram matrix has no inverse, even damped. Calibrate on more slices, or "
        "give --damping."
    )
