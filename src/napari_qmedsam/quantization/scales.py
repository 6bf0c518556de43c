"""Least-squares scales with the codes held fixed: eq. (5), for any units.

With residual D = W - W_q and Q_u the codes masked to unit u, the objective is
quadratic in the scales::

    f(δ + Δ) = f(δ) - 2 bᵀΔ + ΔᵀAΔ,
    b_u = <Q_u, H D>,   A_uv = <Q_u, H Q_v>,   H = XᵀX

One unit per channel: A is diagonal and ``δ_u + b_u / A_uu`` is eq. (5).
Several units of one channel, and permuted elements, see the same outputs: A
couples them, and moving all at once by their own eq. (5) can raise f. Conjugate
gradients on ``AΔ = b`` from Δ = 0 lower f at every step, need one product with
H per step, and are exact after one step where nothing is coupled.
"""

import torch
from torch import Tensor

from napari_qmedsam.quantization.units import UnitMap

STEPS = 4
"""Conjugate gradient steps where units are coupled."""

LARGEST_CHANGE = 4.0
"""A scale may grow or shrink by this factor at most, and so stays positive."""


def scale_step(
    units: UnitMap, gram: Tensor, codes: Tensor, gradient: Tensor, scale: Tensor
) -> Tensor:
    """Return scales nearer the least-squares ones.

    Parameters
    ----------
    units : UnitMap
    gram : Tensor, (groups, m, m)
    codes : Tensor, (groups, m, n)
        Whole numbers in the dtype of `gram`.
    gradient : Tensor, (groups, m, n)
        ``H (W - W_q)``.
    scale : Tensor, one per unit

    Returns
    -------
    Tensor, one per unit
        Where a unit's codes give no output, its scale as it was. Limits keep
        scales positive, so that the caller must still compare objectives.
    """
    residual = units.sum(codes * gradient)
    diagonal = gram.diagonal(dim1=1, dim2=2)[:, :, None]
    weights = units.sum(codes.square() * diagonal)
    inverse = torch.where(weights > 0, 1 / weights, torch.zeros_like(weights))
    change = torch.zeros_like(scale)
    direction = inverse * residual
    slope = units.system_sum(residual * direction)
    for step in range(STEPS if units.coupled else 1):
        if step:
            preconditioned = inverse * residual
            new_slope = units.system_sum(residual * preconditioned)
            direction = preconditioned + _ratio(new_slope, slope) * direction
            slope = new_slope
        product = units.sum(codes * (gram @ (codes * units.expand(direction))))
        length = _ratio(slope, units.system_sum(direction * product))
        change = change + length * direction
        residual = residual - length * product
    return torch.clamp(
        scale + change, min=scale / LARGEST_CHANGE, max=scale * LARGEST_CHANGE
    )


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, with 0 where the denominator is not positive."""
    safe = torch.where(denominator > 0, denominator, torch.ones_like(denominator))
    return torch.where(denominator > 0, numerator / safe, torch.zeros_like(safe))


def search_shrinkage(
    units: UnitMap,
    weight: Tensor,
    importance: Tensor,
    bit_width: int,
    candidates: tuple[float, ...],
) -> Tensor:
    """Return the λ per unit with the least weighted error of rounding.

    Parameters
    ----------
    units : UnitMap
    weight : Tensor, (groups, m, n)
    importance : Tensor, (groups, m)
        Weight of each input: the diagonal of XᵀX.
    bit_width : int
    candidates : tuple of float
        The values of λ that are tried.
    """
    from napari_qmedsam.quantization.uniform import fit_grid, nearest_codes

    bounds = units.minimum(weight), units.maximum(weight)
    best = error = None
    for candidate in candidates:
        scale, zero_point = fit_grid(*bounds, bit_width, candidate)
        full = units.expand(scale)
        codes = nearest_codes(weight, full, units.expand(zero_point), bit_width)
        misfit = (weight - codes * full).square_() * importance[:, :, None]
        tried = units.sum(misfit)
        if best is None or error is None:
            best, error = torch.full_like(tried, candidate), tried
        else:
            best = torch.where(tried < error, candidate, best)
            error = torch.minimum(tried, error)
    assert best is not None
    return best
