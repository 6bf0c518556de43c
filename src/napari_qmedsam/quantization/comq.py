"""COMQ: coordinate descent on codes and scales, from the Gram matrix alone.

Minimises ``‖X W_q - X W‖² = <D, H D>`` with ``D = W - W_q`` and ``H = XᵀX``, over
``W_q[i, j] = δ_u(i,j) Q[i, j]`` (eqs. 1 and 2). A sweep visits every row i once
and moves all its codes to the best level (eqs. 3 and 4); with H, the dot
products of the paper are::

    <x_i, s_ij> / ‖x_i‖² = W_q[i, j] + (H D)[i, j] / H[i, i]

Rows are taken in blocks. Inside a block the gradient ``H D`` is kept up to date
for the block's own rows only; the rest of it follows in one matrix product per
block. After each sweep the scales are fitted (eq. 5). Neither step can raise
the objective.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_qmedsam.quantization.scales import scale_step
from napari_qmedsam.quantization.settings import Order, QuantizationSettings
from napari_qmedsam.quantization.storage import ScaleStorage, as_stored
from napari_qmedsam.quantization.units import UnitMap

NEGLIGIBLE = 1e-12
"""Inputs with less than this share of the largest ``‖x_i‖²`` count as dead."""


@dataclass
class State:
    """Where the descent stands; all (groups, m, n) but the unit values.

    `quantized` is the float weight before the first sweep.
    """

    quantized: Tensor
    codes: Tensor
    gradient: Tensor
    scale: Tensor
    zero_point: Tensor


@dataclass(frozen=True)
class Solution:
    """Codes and unit values, and how the descent went.

    Parameters
    ----------
    codes : Tensor, (groups, m, n)
        Whole numbers, each from z to z + 2**b - 1.
    scale, zero_point : Tensor, one per unit
    objectives : tuple of float
        ``‖X W_q - X W‖²`` after each sweep; never rises.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    objectives: tuple[float, ...]


def solve(
    weight: Tensor,
    gram: Tensor,
    units: UnitMap,
    start: tuple[Tensor, Tensor],
    fallback: tuple[Tensor, Tensor, Tensor] | None,
    settings: QuantizationSettings,
    scale_storage: ScaleStorage,
) -> Solution:
    """Quantize one layer by coordinate descent.

    Starts from the float weight, as the paper does: the first sweep puts every
    weight on the grid, each making up for the errors of those before it.

    Parameters
    ----------
    weight : Tensor, (groups, m, n)
    gram : Tensor, (groups, m, m)
        Same dtype.
    units : UnitMap
    start : tuple of Tensor
        Scale and zero point of each unit.
    fallback : tuple of Tensor or None
        Codes, scale and zero point to take instead where the first sweep ends
        above them: per channel, or for the layer where units cross channels.
    settings : QuantizationSettings
    scale_storage : ScaleStorage
        Fitted scales are rounded to it, so that objectives hold for the file.
    """
    gram, inverse = _without_dead_inputs(gram)
    order = None
    if settings.order is Order.GREEDY:
        order = greedy_order(weight, gram)
    state = State(weight.clone(), weight, torch.zeros_like(weight), *start)
    objectives: list[float] = []
    for sweep_number in range(settings.sweeps):
        before = state.codes
        sweep(state, gram, inverse, units, settings, order)
        if sweep_number == 0 and fallback is not None:
            state = _better(state, _state(weight, gram, units, *fallback), weight, units)
        if settings.update_scales:
            scale = scale_step(units, gram, state.codes, state.gradient, state.scale)
            fitted = _state(
                weight, gram, units, state.codes,
                as_stored(scale, scale_storage), state.zero_point,
            )
            state = _better(fitted, state, weight, units)
        objectives.append(float(_objective(state, weight, units).sum()))
        if sweep_number and torch.equal(before, state.codes):
            break
    return _finish(state, weight, inverse, units, settings, objectives)
