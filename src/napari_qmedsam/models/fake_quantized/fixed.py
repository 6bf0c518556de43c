"""A trained fake-quantized model with its scales as constants, for export.

Exporters know torch's own fake quantization, not ours. Values come out the
same but for rare ties: runtimes multiply by the inverse of a scale, ours
divides.

Runtimes have kernels for 8-bit codes only. Codes of 4 bits are written as
8-bit codes with the same scale: the values are the same, and so is the speed.
"""

import copy

import torch
from torch import Tensor, nn

from napari_qmedsam.errors import UnsupportedQuantization
from napari_qmedsam.models.fake_quantized.layers import QuantizedLayer
from napari_qmedsam.models.fake_quantized.quantizers import (
    ActivationQuantizer,
    WeightQuantizer,
)
from napari_qmedsam.models.medsam import MedSAM

LOWEST, HIGHEST = -128, 127
"""Codes of 8 bits."""


class FixedActivation(nn.Module):
    """Rounds to 8-bit codes of a constant scale; fewer bits are cut off before."""

    def __init__(self, scale: float, bit_width: int) -> None:
        super().__init__()
        self.scale, levels = scale, 2 ** (bit_width - 1)
        self.bounds = None
        if bit_width < 8:
            self.bounds = (-levels * scale, (levels - 1) * scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` on its grid."""
        if self.bounds is not None:
            x = x.clamp(*self.bounds)
        return torch.fake_quantize_per_tensor_affine(x, self.scale, 0, LOWEST, HIGHEST)


class FixedWeight(nn.Module):
    """Rounds a weight, already on its grid, in a way that exporters see."""

    def __init__(self, scale: Tensor, axis: int) -> None:
        super().__init__()
        self.scale, self.axis = scale, axis

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, unchanged."""
        if self.scale.numel() == 1:
            scale = float(self.scale)
            return torch.fake_quantize_per_tensor_affine(
                weight, scale, 0, LOWEST, HIGHEST
            )
        scales = self.scale.flatten()
        zeros = torch.zeros(scales.numel(), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            weight, scales, zeros, self.axis, LOWEST, HIGHEST
        )


@torch.no_grad()
def fixed(model: MedSAM) -> MedSAM:
    """Return a copy of a fake-quantized model that can be traced and exported.

    Raises
    ------
    UnsupportedQuantization
        If a scale is not known, because the quantizer never ran.
    """
    model = copy.deepcopy(model).eval()
    for name, module in list(model.named_modules()):
        for child_name, child in list(module.named_children()):
            if isinstance(child, ActivationQuantizer):
                if not child.learned.is_known:
                    raise UnsupportedQuantization(
                        f"'{name}.{child_name}' has no scale: it never saw a slice. "
                        "Collect statistics first."
                    )
                replaced = FixedActivation(child.scale(), child.bit_width)
                setattr(module, child_name, replaced)
        if isinstance(module, QuantizedLayer):
            quantizer = module.quantize_weight
            assert isinstance(quantizer, WeightQuantizer)
            scale = quantizer.scale(module.weight)
            module.weight.copy_(quantizer(module.weight))
            module.quantize_weight = FixedWeight(scale, quantizer.channel_axis)
    return model
