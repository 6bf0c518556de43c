"""Rounding to codes with gradients straight through, and magnitudes of tensors.

The arithmetic behind :mod:`~napari_qmedsam.models.fake_quantized.quantizers`.
"""

import math
from typing import Any

import torch
from torch import Tensor

PERCENTILE = 99.999
"""Of the magnitudes: what a scale starts as."""

SMALLEST = 1e-10
"""Bound below which no range can fall."""

BLOCK = 1 << 16
"""Elements taken at once: 256 KB, so that they stay in the processor's cache."""


ROW = 1 << 12
"""Length of the rows whose maxima narrow a percentile down."""


class _Rounding(torch.autograd.Function):
    """``clamp(round(x / s)) * s`` with the straight-through gradient.

    Written out by hand: autograd would keep six tensors of the size of `x` and
    pass over memory for each operation. The order of operations is kept, so
    that gradients come out the same to the last bit (but for the order in
    which more than a block of terms is summed for the scale).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, levels: int) -> Tensor:
        scale = value.detach().abs().clamp_min(SMALLEST) / levels
        ctx.save_for_backward(x, value, scale)
        ctx.levels = levels
        y = torch.empty_like(x, dtype=torch.float32)
        for source, target in zip(_blocks(x, x), _blocks(y, x), strict=True):
            torch.div(source, scale, out=target)
            target.round_().clamp_(-levels, levels - 1).mul_(scale)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, value, scale = ctx.saved_tensors
        levels, (gradient,) = ctx.levels, gradients
        learns = ctx.needs_input_grad[1]
        to_x = torch.empty_like(x, dtype=torch.float32)
        to_scale = torch.zeros_like(scale)
        gradient = _laid_out_like(gradient, x)
        for source, out, target in zip(
            _blocks(x, x), _blocks(gradient, x), _blocks(to_x, x), strict=True
        ):
            ratio = source / scale
            rounded = ratio.round()
            codes = rounded.clamp(-levels, levels - 1)
            to_codes = torch.where(rounded == codes, out * scale, 0.0)
            if learns:
                to_scale += (out * codes).sum()
                to_scale -= (to_codes * (ratio / scale)).sum()
            torch.div(to_codes, scale, out=target)
        to_value = None
        if learns:
            to_value = to_scale / levels
            to_value = torch.where(value < 0, -to_value, to_value)
        return to_x.to(x.dtype), to_value, None


class RoundThrough(torch.autograd.Function):
    """Rounding whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Round half to even."""
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Pass the gradient on as it is."""
        return gradients[0]


def _blocks(tensor: Tensor, like: Tensor) -> tuple[Tensor, ...]:
    """Cut a tensor, laid out in memory as `like`, into blocks without copying."""
    if like.is_contiguous():
        return tensor.view(-1).split(BLOCK)
    if like.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).view(-1).split(BLOCK)
    return (tensor,)


def _laid_out_like(tensor: Tensor, like: Tensor) -> Tensor:
    if like.is_contiguous():
        return tensor.contiguous()
    if like.is_contiguous(memory_format=torch.channels_last):
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def magnitude(x: Tensor) -> Tensor:
    """Return the 99.999 percentile of |x|; the gradient flows to that element."""
    flat = x.reshape(-1)
    size = flat.detach().abs()
    rank = math.floor(0.01 * PERCENTILE * size.numel() + 0.5)
    return flat[_ranked(size, rank)].abs()


def _ranked(values: Tensor, rank: int) -> Tensor:
    """Return the index of the `rank`-th smallest value, `rank` close to the top."""
    wanted = values.numel() - rank + 1
    rows = values[: values.numel() // ROW * ROW].view(-1, ROW)
    if rows.shape[0] < wanted:
        return values.kthvalue(rank)[1]
    # What lies below the wanted-th largest row maximum cannot be the answer:
    # a few values are left to sort instead of millions.
    bound = rows.amax(dim=1).topk(wanted)[0][-1]
    candidates = (values >= bound).nonzero()[:, 0]
    return candidates[values[candidates].topk(wanted)[1][-1]]


def fake_quantized(x: Tensor, value: Tensor, levels: int) -> Tensor:
    """Return `x` on the grid of a magnitude's codes, with gradients to both.

    Parameters
    ----------
    x : Tensor
    value : Tensor, scalar
        Stands for code `levels`.
    levels : int
        Codes reach from -levels to levels - 1.
    """
    return _Rounding.apply(x, value, levels)
