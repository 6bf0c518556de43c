"""Weights on their grid as 8-bit integers, for files a quarter of the size.

A fake-quantized model computes with ``codes * scale`` only. So the codes and
the scale are all of a weight that inference needs; what training would need
besides, the float weight behind them, is left out. Read back, the largest code
gives the same scale but for the last bit, and the codes come out the same.

The weights of a float model are rounded to 8 bits for it, with a scale for each output
channel. It is a float model still: it can be quantized, trained on and exported.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from napari_qmedsam.models.fake_quantized.layers import QuantizedLayer
from napari_qmedsam.models.fake_quantized.quantizers import WeightQuantizer
from napari_qmedsam.models.medsam import MedSAM

LARGEST_CODE = 127

MATRICES = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

WEIGHT, CODE_SCALE = ".weight", ".weight_scale"
"""How the names of codes and of their scale end."""


def compact_state(model: MedSAM) -> dict[str, Tensor]:
    """Return a state dict with weights as int8 codes.

    Of a fake-quantized model those of its quantized layers, of a float model those of
    all linear layers and convolutions. Beside each stands its scale: a scalar, or one
    for each output channel in a shape that broadcasts.
    """
    state = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLayer):
            quantizer = module.quantize_weight
            assert isinstance(quantizer, WeightQuantizer)
            scale = quantizer.scale(state[name + WEIGHT])
        elif model.fake_quant is None and isinstance(module, MATRICES):
            scale = _scale_of(module)
        else:
            continue
        state[name + WEIGHT] = (state[name + WEIGHT] / scale).round().to(torch.int8)
        state[name + CODE_SCALE] = scale
    return state


def _scale_of(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """Return the scale of each output channel, in a shape that broadcasts."""
    weight = layer.weight.detach()
    outputs = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    others = [axis for axis in range(weight.ndim) if axis != outputs]
    scale = weight.abs().amax(others, keepdim=True) / LARGEST_CODE
    return scale.where(scale > 0, torch.ones_like(scale))


def expanded_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo :func:`compact_state`; other state dicts come back as they are."""
    expanded = dict(state)
    for name in state:
        if name.endswith(CODE_SCALE):
            weight = name.removesuffix(CODE_SCALE) + WEIGHT
            expanded[weight] = state[weight].float() * expanded.pop(name)
    return expanded
