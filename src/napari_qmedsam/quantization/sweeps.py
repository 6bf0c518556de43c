"""One sweep of coordinate descent over the codes: eqs. (3) and (4).

With ``H = XᵀX`` and the gradient ``H D``, ``D = W - W_q``, the dot products of
the papers are ``<x_i, s_ij> / ‖x_i‖² = W_q[i, j] + (H D)[i, j] / H[i, i]``.
Rows are taken in blocks. Inside a block the gradient is kept up to date for the
block's own rows only; all others follow in one matrix product per block.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.packed.units import UnitMap

LEAST_GREEDY_ROWS = 32
"""Smallest block of a greedy sweep; the largest is a 32nd of the rows."""


@dataclass
class State:
    """Where the descent stands; changed in place by a sweep.

    Parameters
    ----------
    quantized : Tensor, (groups, m, n)
        W_q; before the first sweep the float weight.
    codes : Tensor, (groups, m, n)
        Whole numbers; meaningless before the first sweep.
    gradient : Tensor, (groups, m, n)
        ``H (W - W_q)``.
    scale, zero_point : Tensor, one per unit
    """

    quantized: Tensor
    codes: Tensor
    gradient: Tensor
    scale: Tensor
    zero_point: Tensor

    def clone(self) -> "State":
        """Return a copy that later sweeps leave alone."""
        return State(
            self.quantized.clone(),
            self.codes.clone(),
            self.gradient.clone(),
            self.scale,
            self.zero_point,
        )


def natural_sweep(
    state: State,
    gram: Tensor,
    inverse: Tensor,
    units: UnitMap,
    bit_width: int,
    block_size: int,
) -> None:
    """Visit the rows 0, 1, 2, ... once.

    Parameters
    ----------
    state : State
    gram : Tensor, (groups, m, m)
        Rows and columns of dead inputs are 0.
    inverse : Tensor, (groups, m)
        1 / H[i, i]; 0 for dead inputs, whose weights are rounded as they are.
    units : UnitMap
    bit_width : int
    block_size : int
    """
    m = gram.shape[1]
    scale, smallest = units.expand(state.scale), units.expand(state.zero_point)
    largest = smallest + (2**bit_width - 1)
    for start in range(0, m, block_size):
        check_cancelled()
        rows = slice(start, min(start + block_size, m))
        inner, local = gram[:, rows, rows], state.gradient[:, rows].clone()
        change = torch.empty_like(local)
        # Views, made once: for a layer's thousands of rows they take as long
        # as the arithmetic. Written to in place.
        views = zip(
            *(
                values[:, rows].unbind(1)
                for values in (state.quantized, state.codes, scale, smallest, largest)
            ),
            *(values.unbind(1) for values in (local, change)),
            inverse[:, rows, None].unbind(1),
            strict=True,
        )
        for k, (current, code, step, low, high, gradient, moved, share) in enumerate(
            views, start=1
        ):
            torch.addcmul(current, gradient, share, out=code)
            code.div_(step).round_().clamp_(low, high)
            moved.copy_(current)
            torch.mul(code, step, out=current)
            moved.sub_(current)
            local[:, k:].addcmul_(inner[:, k:, k - 1, None], moved[:, None])
        state.gradient.baddbmm_(gram[:, :, rows], change)


def greedy_order(weight: Tensor, gram: Tensor) -> Tensor:
    """Return each channel's rows by descending ``|w_ij| ‖x_i‖``, (groups, m, n)."""
    lengths = gram.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    return (weight.abs() * lengths[:, :, None]).argsort(
        dim=1, descending=True, stable=True
    )


def greedy_sweep(
    state: State,
    gram: Tensor,
    inverse: Tensor,
    units: UnitMap,
    bit_width: int,
    order: Tensor,
) -> None:
    """Visit the rows once, in an order of each channel's own.

    Parameters are those of :func:`natural_sweep`; `order` is that of
    :func:`greedy_order`. The rows of a block differ from channel to channel, so
    that its matrix product runs over all rows, mostly zeros: blocks are larger,
    and a sweep costs a few times a natural one.
    """
    groups, m, _ = gram.shape
    scale, smallest = units.expand(state.scale), units.expand(state.zero_point)
    top = 2**bit_width - 1
    first = (torch.arange(groups, device=gram.device) * m * m)[:, None, None]
    for rows in order.split(max(LEAST_GREEDY_ROWS, m // 32), dim=1):
        check_cancelled()
        places = (first + rows * m)[:, :, None] + rows[:, None]
        inner = gram.take(places)  # (groups, b, b, n)
        local, current, step, z = (
            values.gather(1, rows)
            for values in (state.gradient, state.quantized, scale, smallest)
        )
        inverses = inverse[:, :, None].expand_as(scale).gather(1, rows)
        change, codes = torch.empty_like(local), torch.empty_like(local)
        for k in range(rows.shape[1]):
            target = torch.addcmul(current[:, k], local[:, k], inverses[:, k])
            target.div_(step[:, k]).round_().clamp_(z[:, k], z[:, k] + top)
            codes[:, k] = target
            change[:, k] = current[:, k] - target * step[:, k]
            local[:, k + 1 :].addcmul_(inner[:, k + 1 :, k], change[:, k, None])
        state.codes.scatter_(1, rows, codes)
        state.quantized.scatter_(1, rows, codes * step)
        spread = torch.zeros_like(state.gradient).scatter_(1, rows, change)
        state.gradient.baddbmm_(gram, spread)
