"""From a float model to its fake-quantized form."""

import copy
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from napari_qmedsam.errors import CalibrationMismatch, UnsupportedQuantization
from napari_qmedsam.models.fake_quantized.attention import PRODUCTS, QuantizedProducts
from napari_qmedsam.models.fake_quantized.layers import LAYERS, QuantizedLayer, become
from napari_qmedsam.models.fake_quantized.quantizers import ActivationQuantizer
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.models.medsam import MedSAM

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


def quantizers(model: nn.Module) -> Iterator[tuple[str, ActivationQuantizer]]:
    """Return name and quantizer of every quantized activation, in order."""
    for name, module in model.named_modules():
        if isinstance(module, ActivationQuantizer):
            yield name, module


def collect_statistics(
    model: MedSAM,
    batches: Iterable[tuple[Tensor, Tensor]],
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Set every activation scale that is not known yet, by running the model.

    Scales start as the running 99.999 percentile of the magnitudes, and are
    learned from then on. Weights and normalisation statistics stay.

    Parameters
    ----------
    model : MedSAM
        Fake-quantized; changed in place, its mode restored.
    batches : iterable of (Tensor, Tensor)
        Images (N, 3, S, S) and boxes (B, 4), N dividing B, on the model's
        device. A few dozen are enough.
    progress : callable
        Called with the number of batches done.

    Raises
    ------
    CalibrationMismatch
        If the model is not fake-quantized, or there is no batch.
    """
    ranges = [q.learned for _, q in quantizers(model)]
    if not ranges:
        raise CalibrationMismatch("The model is not fake-quantized: no scale to set.")
    was_training = model.training
    model.eval()
    for item in ranges:
        item.collecting = not item.is_known
    done = 0
    try:
        with torch.no_grad():
            for images, boxes in batches:
                embedding = model.image_encoder(images)
                model.decode(embedding, boxes)
                model.decode(embedding, boxes, multimask=True)
                done += 1
                progress(done)
    finally:
        model.train(was_training)
        for item in ranges:
            item.collecting = False
    if not done:
        raise CalibrationMismatch("There is nothing to collect statistics on.")
    for item in ranges:
        item.settle()


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
