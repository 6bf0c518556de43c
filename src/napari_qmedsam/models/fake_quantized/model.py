"""From a float model to its fake-quantized form."""

import copy

from torch import nn

from napari_qmedsam.errors import UnsupportedQuantization
from napari_qmedsam.models.fake_quantized.attention import PRODUCTS, QuantizedProducts
from napari_qmedsam.models.fake_quantized.layers import LAYERS, QuantizedLayer, become
from napari_qmedsam.models.fake_quantized.quantizers import (
    ActivationQuantizer,
    quantizers,
)
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.models.fake_quantized.statistics import collect_statistics
from napari_qmedsam.models.medsam import MedSAM

__all__ = ["collect_statistics", "fake_quantize", "quantizers"]

LEFT_FLOAT = ("mask_decoder.iou_prediction_head",)
"""Layers without influence on the masks; the authors' carry no scale."""


def fake_quantize(model: MedSAM, settings: FakeQuantSettings) -> MedSAM:
    """Return a fake-quantized copy of a model, in the same mode.

    Parameters
    ----------
    model : MedSAM
        Float, or with one part fake-quantized already: that part is kept with
        its scales.
    settings : FakeQuantSettings

    Raises
    ------
    UnsupportedQuantization
        If a part is fake-quantized already with other bits.
    """
    before = model.fake_quant
    if before is not None and (
        _grid(before) != _grid(settings) or set(before.parts) - set(settings.parts)
    ):
        raise UnsupportedQuantization(
            f"The model is fake-quantized already, as {before}; {settings} would "
            "change that. Start from the float model."
        )
    model = copy.deepcopy(model)
    for part in settings.parts:
        setattr(model, part, _quantized(getattr(model, part), part, settings))
    model.fake_quant = settings
    return model.train(model.training)


def _quantized(module: nn.Module, name: str, settings: FakeQuantSettings) -> nn.Module:
    """Return a module with everything in it that multiplies replaced."""
    if name in LEFT_FLOAT or isinstance(module, ActivationQuantizer):
        return module
    for child_name, child in list(module.named_children()):
        quantized = _quantized(child, f"{name}.{child_name}", settings)
        if quantized is not child:
            setattr(module, child_name, quantized)
    kind = LAYERS.get(type(module)) or PRODUCTS.get(type(module))
    if kind is None:  # holds no product, or is fake-quantized already
        return module
    changed = become(module, kind)  # type: ignore[type-var]
    assert isinstance(changed, QuantizedLayer | QuantizedProducts)
    changed.prepare(settings)
    assert isinstance(changed, nn.Module)
    return changed.to(next(module.parameters()).device)


def _grid(settings: FakeQuantSettings) -> tuple[int, int, bool]:
    return (
        settings.weight_bit_width,
        settings.activation_bit_width,
        settings.per_channel,
    )
