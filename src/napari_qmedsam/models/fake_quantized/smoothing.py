"""Channels of convolutions brought to one size, before they share a scale.

SmoothQuant (Xiao et al. 2023): what enters a product is divided by a constant for each
channel and the weight multiplied by it, so that the product stays and the rounding of
its input does not follow the few channels with large values. The first convolutions of
a TinyViT have such: one scale of 24 for channels of which most stay below 1.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from napari_qmedsam.models.fake_quantized.layers import QuantConv2d
from napari_qmedsam.models.fake_quantized.quantizers import WeightQuantizer

SMALLEST_SHARE = 1 / 64
"""Of the largest constant: no channel is divided by less."""


def smooth_convolutions(
    model: nn.Module, unknown: Collection[str], run: Callable[[], None]
) -> None:
    """Set the input factors of convolutions, by the largest values of each channel.

    Parameters
    ----------
    model : nn.Module
        Fake-quantized; changed in place.
    unknown : collection of str
        Names of the quantizers without a scale; the layers of others stay.
    run : callable
        Runs the model on some slices.
    """
    layers = {
        module: torch.zeros_like(module.input_factor)
        for name, module in model.named_modules()
        if isinstance(module, QuantConv2d)
        and module.input_factor is not None
        and f"{name}.input_quant" in unknown
    }
    if not layers:
        return
    with _largest(layers):
        run()
    for layer, largest in layers.items():
        _smooth(layer, largest)


@contextmanager
def _largest(layers: dict[QuantConv2d, Tensor]) -> Iterator[None]:
    """Keep the largest magnitude of each channel that enters the layers."""

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, QuantConv2d)
        now = inputs[0].detach().abs().amax(dim=(0, 2, 3), keepdim=True)[0]
        layers[layer] = torch.maximum(layers[layer], now)

    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _smooth(layer: QuantConv2d, largest: Tensor) -> None:
    """Give a layer factors for inputs with these (in, 1, 1) largest magnitudes."""
    assert layer.input_factor is not None
    assert isinstance(layer.quantize_weight, WeightQuantizer)
    by_channel = layer.groups == layer.in_channels == layer.out_channels
    if layer.groups > 1 and not by_channel:
        return
    # A channel of its own scale costs the weight nothing, where each output channel
    # has one; otherwise input and weight share the burden.
    own = by_channel and layer.quantize_weight.per_channel
    size = layer.weight.abs().amax(dim=(2, 3))
    of_weight = size[:, 0] if by_channel else size.amax(dim=0)
    burden = torch.ones_like(of_weight) if own else of_weight
    power = 1.0 if own else 0.5
    share = (largest.flatten() / burden.clamp_min(1e-10)) ** power
    if not share.max() > 0:
        return
    share = (share / share.max()).clamp_min(SMALLEST_SHARE)
    layer.input_factor.copy_((1 / share)[:, None, None])
    layer.weight.mul_(
        share[:, None, None, None] if by_channel else share[:, None, None]
    )
