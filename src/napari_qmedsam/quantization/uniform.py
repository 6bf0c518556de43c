"""The uniform quantizer of section 2.2, and rounding to nearest with it.

A unit of weights gets the levels ``scale * {z, z + 1, ..., z + 2**b - 1}``.
Codes are those integers themselves, so ``W_q = scale * codes`` and the zero
point z is the smallest code. Everything works element by element and
broadcasts: bounds, scales and zero points may have any matching shape.
"""

import torch
from torch import Tensor

LARGEST_CODE = 32_000
"""Codes stay below this in size, so that a zero point fits 16 bits.

It only matters for a narrow unit far from zero, whose step is widened to the
largest weight over this number.
"""


def fit_grid(
    minimum: Tensor, maximum: Tensor, bit_width: int, shrinkage: float | Tensor = 1.0
) -> tuple[Tensor, Tensor]:
    """Return step and zero point of units with these bounds.

    Section 2.2: ``δ = (max - min) / (2**b - 1)``, ``z = round(min / δ)``, half
    to even. COMQ's λ then shrinks the step; z still comes from the whole step,
    which shrinks the grid about zero. A unit on one side of zero would be
    shrunk away from its weights, so it is shrunk about its middle.

    Parameters
    ----------
    minimum, maximum : Tensor, any shape, float
        Bounds of each unit's weights.
    bit_width : int
        b, 1 to 8.
    shrinkage : float or Tensor
        λ, above 0 and at most 1.

    Returns
    -------
    scale : Tensor
        λδ, positive. A constant unit takes its absolute value, which then is
        a level, whatever λ; an all-zero unit takes 1.
    zero_point : Tensor, same dtype as `minimum`, whole numbers
        0 for an all-zero unit.
    """
    levels = 2**bit_width - 1
    peak = torch.maximum(minimum.abs(), maximum.abs())
    step = torch.maximum((maximum - minimum) / levels, peak / LARGEST_CODE)
    constant = maximum == minimum
    # The step must survive as float32; a unit that small counts as zero.
    empty = step < torch.finfo(torch.float32).tiny
    one = torch.ones_like(step)
    step = torch.where(empty, one, torch.where(constant, peak, step))
    zero_point = torch.where(empty, 0 * step, torch.round(minimum / step))
    scale = torch.where(constant | empty, step, step * shrinkage)
    one_sided = (minimum > 0) | (maximum < 0)
    shrunk = one_sided & (scale < step)
    middle = (minimum + maximum) / 2
    centred = torch.round(middle / scale - levels / 2)
    # Far from zero, shrinking would push codes past their limit: leave those.
    too_far = shrunk & (centred.abs() > LARGEST_CODE)
    zero_point = torch.where(shrunk & ~too_far, centred, zero_point)
    return torch.where(too_far, step, scale), zero_point


def nearest_codes(
    weight: Tensor, scale: Tensor, zero_point: Tensor, bit_width: int
) -> Tensor:
    """Return the code of the level nearest to each weight (RTN).

    ``clamp(round(w / δ), z, z + 2**b - 1)``, rounding half to even.

    Returns
    -------
    Tensor
        Whole numbers in the dtype of `weight`.
    """
    codes = torch.round(weight / scale)
    return torch.clamp(codes, zero_point, zero_point + (2**bit_width - 1))
