"""Layers whose input and weight are fake-quantized; the bias stays float."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_qmedsam.models.fake_quantized.quantizers import (
    ActivationQuantizer,
    WeightQuantizer,
)
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings

Module = TypeVar("Module", bound=nn.Module)


def become(module: nn.Module, kind: type[Module]) -> Module:
    """Return `module` as an instance of a subclass, its tensors shared."""
    assert issubclass(kind, type(module))
    changed = kind.__new__(kind)
    changed.__dict__.update(module.__dict__)
    return changed


class QuantizedLayer:
    """What the three layers share."""

    input_quant: ActivationQuantizer
    quantize_weight: Callable[[Tensor], Tensor]
    channel_axis = 0
    weight: Tensor

    def prepare(self, settings: FakeQuantSettings) -> None:
        """Add the quantizers."""
        self.input_quant = ActivationQuantizer(
            settings.activation_bit_width, settings.statistics_steps
        )
        self.quantize_weight = WeightQuantizer(
            settings.weight_bit_width, settings.per_channel, self.channel_axis
        )


class QuantLinear(QuantizedLayer, nn.Linear):
    """Linear layer."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        weight = self.quantize_weight(self.weight)
        return functional.linear(self.input_quant(x), weight, self.bias)


class QuantConv2d(QuantizedLayer, nn.Conv2d):
    """Convolution.

    Attributes
    ----------
    input_factor : Tensor, (in, 1, 1), or None
        What each channel is multiplied by before it is rounded; the weight holds the
        inverse (:mod:`~napari_qmedsam.models.fake_quantized.smoothing`).
    """

    input_factor: Tensor | None

    def prepare(self, settings: FakeQuantSettings) -> None:
        """Add the quantizers."""
        super().prepare(settings)
        ones = torch.ones(self.in_channels, 1, 1)
        self.register_buffer(
            "input_factor", ones if settings.smooth_convolutions else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H', W')."""
        if self.input_factor is not None:
            x = x * self.input_factor
        weight = self.quantize_weight(self.weight)
        return self._conv_forward(self.input_quant(x), weight, self.bias)


class QuantConvTranspose2d(QuantizedLayer, nn.ConvTranspose2d):
    """Transposed convolution; its weight is (in, out, kh, kw)."""

    channel_axis = 1

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        """(B, in, H, W) to (B, out, H', W')."""
        assert output_size is None
        return functional.conv_transpose2d(
            self.input_quant(x),
            self.quantize_weight(self.weight),
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            self.output_padding,
            self.groups,
            self.dilation,
        )


LAYERS: dict[type[nn.Module], type[QuantizedLayer]] = {
    nn.Linear: QuantLinear,
    nn.Conv2d: QuantConv2d,
    nn.ConvTranspose2d: QuantConvTranspose2d,
}
"""The fake-quantized form of each layer that multiplies with a weight."""
