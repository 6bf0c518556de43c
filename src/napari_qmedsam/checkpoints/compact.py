"""Weights on their grid as 8-bit integers, for files a quarter of the size.

A fake-quantized model computes with ``codes * scale`` only. So the codes and
the scale are all of a weight that inference needs; what training would need
besides, the float weight behind them, is left out. Read back, the largest code
gives the same scale but for the last bit, and the codes come out the same.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from napari_qmedsam.models.fake_quantized.layers import QuantizedLayer
from napari_qmedsam.models.fake_quantized.quantizers import WeightQuantizer
from napari_qmedsam.models.medsam import MedSAM

WEIGHT, CODE_SCALE = ".weight", ".weight_scale"
"""How the names of codes and of their scale end."""


def compact_state(model: MedSAM) -> dict[str, Tensor]:
    """Return a state dict with the weights of quantized layers as int8 codes.

    Beside each stands its scale: a scalar, or one for each output channel in a
    shape that broadcasts.
    """
    state = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLayer):
            weight = state[name + WEIGHT]
            quantizer = module.quantize_weight
            assert isinstance(quantizer, WeightQuantizer)
            scale = quantizer.scale(weight)
            state[name + WEIGHT] = (weight / scale).round().to(torch.int8)
            state[name + CODE_SCALE] = scale
    return state


def expanded_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo :func:`compact_state`; other state dicts come back as they are."""
    expanded = dict(state)
    for name in state:
        if name.endswith(CODE_SCALE):
            weight = name.removesuffix(CODE_SCALE) + WEIGHT
            expanded[weight] = state[weight].float() * expanded.pop(name)
    return expanded
