"""Start values for the scales of attention probabilities.

Over many keys, most probabilities are far below the largest. A code step taken
from the largest rounds them all to 0, and with them most of the sum. So the
range is narrowed until what is cut off at the top costs as much as what is
rounded away at the bottom; training goes on from there.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from napari_qmedsam.models.fake_quantized.model import quantizers
from napari_qmedsam.models.fake_quantized.quantizers import ActivationQuantizer
from napari_qmedsam.models.medsam import MedSAM

PROBABILITIES = ".act_attn.act_quant"
"""How the names of such quantizers end."""

HALVINGS = 10
"""Ranges that are tried: the largest value, and so many halves of it."""


def fit_attention_ranges(
    model: MedSAM, batches: Iterable[tuple[Tensor, Tensor]], chosen: set[str]
) -> None:
    """Narrow the ranges of attention probabilities, in place.

    Parameters
    ----------
    model : MedSAM
        Fake-quantized, with every scale known.
    batches : iterable of (Tensor, Tensor)
        Images and boxes, as for `collect_statistics`.
    chosen : set of str
        Names of the quantizers that may change; of these, those of attention
        probabilities do.
    """
    found = {
        name: quantizer
        for name, quantizer in quantizers(model)
        if name in chosen and name.endswith(PROBABILITIES)
    }
    errors = {name: torch.zeros(HALVINGS + 1) for name in found}
    handles = [
        quantizer.register_forward_pre_hook(_recorder(errors[name]))
        for name, quantizer in found.items()
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for images, boxes in batches:
                model(images, boxes)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    for name, quantizer in found.items():
        halvings = int(errors[name].argmin())
        quantizer.learned.set(float(quantizer.learned.value.detach()) / 2**halvings)


def _recorder(errors: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, ActivationQuantizer)
        full = module.learned.value.detach().abs()
        for halvings in range(len(errors)):
            errors[halvings] += _error(inputs[0], full / 2**halvings, module.levels)

    return record


def _error(probabilities: Tensor, largest: Tensor, levels: int) -> float:
    """Squared error of the sums of rows, and of the probabilities themselves.

    The first is what a common part of the values suffers, the second what
    their differences do.
    """
    scale = largest / levels
    codes = (probabilities / scale).round().clamp(-levels, levels - 1)
    off = codes * scale - probabilities
    rows = off.sum(-1).square() + off.square().sum(-1)
    return rows.mean().item()
