"""How scales are stored: float16 with a common exponent, or float32."""

import math
from enum import Enum

import torch
from torch import Tensor


class ScaleFormat(str, Enum):
    """How scales are stored.

    AUTO takes float32 for units of 256 weights and more, where that costs at
    most a sixteenth of a bit per weight, for 6 bits and more, where float16
    shows in the error, and for permuted elements.
    """

    AUTO = "auto"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


def as_stored(scale: Tensor, scale_format: ScaleFormat) -> Tensor:
    """Round scales to what a file holds, in the dtype they have.

    float16 shares one exponent per weight (see :func:`float16_exponent`), and
    keeps 11 significant bits of every scale down to 2**-28 of the largest;
    smaller ones are raised to that.
    """
    if scale_format is ScaleFormat.FLOAT32:
        return scale.float().to(scale.dtype)
    factor = 2.0 ** float16_exponent(scale)
    smallest = torch.finfo(torch.float16).tiny
    return (scale * factor).clamp(min=smallest).half().to(scale.dtype) / factor


def float16_exponent(scale: Tensor) -> int:
    """Return e so that ``scale * 2**e`` uses the range of float16 well."""
    return 14 - math.frexp(float(scale.max()))[1]
