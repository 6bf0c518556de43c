"""Bits per layer for a size budget, by measured sensitivity.

Every layer is quantized alone at every candidate bit-width: its error on the
calibration inputs, and at one width what that error does to the logits. Bits
then go, one step at a time, to the layer whose step lowers the expected error
of the logits most for the bytes it costs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.packed.model_file import float_bytes
from napari_qmedsam.datasets.calibration import CalibrationSample, CalibrationSet
from napari_qmedsam.errors import UnsupportedQuantization
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.quantization.calibration import GramPass
from napari_qmedsam.quantization.gram import damped
from napari_qmedsam.quantization.layer import quantize_weight
from napari_qmedsam.quantization.model_layers import (
    QuantizableLayer,
    quantizable_layers,
    replace_weight,
)
from napari_qmedsam.quantization.recipe import DAMPING, Override, Recipe
from napari_qmedsam.quantization.sequential import DECODER
from napari_qmedsam.quantization.settings import QuantizationSettings

CANDIDATES = (2, 3, 4, 5, 6, 8)
"""Bit-widths a layer can get."""

PROBE = 3
"""Bit-width at which the effect on the logits is measured."""

PROBE_SLICES = 3
"""Calibration slices on which it is measured."""

PROBE_BOXES = 4
"""Boxes of each; every layer is tried on all of them."""


@dataclass(frozen=True)
class LayerChoice:
    """What one layer costs and does at each candidate width.

    Parameters
    ----------
    name : str
    weights : int
        Number of weights.
    stored_bytes : dict of int to int
        By bit-width.
    harm : dict of int to float
        Expected squared change of the logits, by bit-width.
    """

    name: str
    weights: int
    stored_bytes: dict[int, int]
    harm: dict[int, float]


@dataclass(frozen=True)
class _Answer:
    """What the float model says to a probe."""

    embedding: torch.Tensor
    logits: torch.Tensor


def measure(
    model: MedSAM,
    settings: QuantizationSettings,
    calibration: CalibrationSet,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
    damping: float | None = None,
    sums: GramPass | None = None,
) -> list[LayerChoice]:
    """Quantize every layer alone at every width, and see what it does.

    The model is put back as it was. `sums` over its layers, where there are some,
    save a calibration, and stay whole.

    Raises
    ------
    Cancelled
        If the work is not wanted any more.
    """
    layers = quantizable_layers(model)
    if sums is None:
        sums = GramPass(layers)
        sums.run(model, calibration.samples, is_resumable=False)
    sums = sums.copy()
    probes = [
        CalibrationSample(sample.image, sample.boxes[:PROBE_BOXES])
        for sample in calibration.samples[:PROBE_SLICES]
    ]
    exact = [_answer(model, sample) for sample in probes]
    choices = []
    for done, layer in enumerate(layers):
        check_cancelled(f"Stopped before measuring layer {layer.name}.")
        progress(done, len(layers), layer.name)
        # One damping for all widths, or their errors could not be compared.
        share = DAMPING["coarse"] if damping is None else damping
        gram = damped(sums.take(layer), share)
        choices.append(_measure_layer(model, layer, gram, settings, probes, exact))
    return choices


def allocate(choices: Sequence[LayerChoice], budget: int) -> dict[str, int]:
    """Return a bit-width per layer whose stored bytes stay within the budget.

    Parameters
    ----------
    choices : sequence of LayerChoice
    budget : int
        Bytes for the quantized weights, all included.

    Raises
    ------
    UnsupportedQuantization
        If even the lowest widths need more.
    """
    widths = {choice.name: CANDIDATES[0] for choice in choices}
    used = sum(choice.stored_bytes[CANDIDATES[0]] for choice in choices)
    if used > budget:
        raise UnsupportedQuantization(
            f"A budget of {budget} bytes is too small: with every layer at "
            f"{CANDIDATES[0]} bits the weights need {used}."
        )
    while True:
        best: tuple[float, LayerChoice, int] | None = None
        for choice in choices:
            now = widths[choice.name]
            for width in CANDIDATES:
                cost = choice.stored_bytes[width] - choice.stored_bytes[now]
                gain = choice.harm[now] - choice.harm[width]
                if width <= now or cost <= 0 or used + cost > budget or gain <= 0:
                    continue
                if best is None or gain / cost > best[0]:
                    best = (gain / cost, choice, width)
        if best is None:
            return widths
        _, choice, width = best
        used += choice.stored_bytes[width] - choice.stored_bytes[widths[choice.name]]
        widths[choice.name] = width


def recipe_for_budget(
    model: MedSAM,
    settings: QuantizationSettings,
    calibration: CalibrationSet,
    *,
    average_bits: float | None = None,
    total_bytes: int | None = None,
    damping: float | None = None,
    sums: GramPass | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Recipe:
    """Return a recipe that spends a budget where it helps most.

    Parameters
    ----------
    model : MedSAM
    settings : QuantizationSettings
        For everything but the bit-width.
    calibration : CalibrationSet
    average_bits : float, optional
        Effective bits per quantized weight.
    total_bytes : int, optional
        Bytes of all the model's tensors, float ones included.
    damping : float, optional
        As in :class:`~napari_qmedsam.quantization.recipe.Recipe`.
    sums : GramPass, optional
        Over the layers of `model` and these slices, run to the end.

    Raises
    ------
    UnsupportedQuantization
        If not exactly one budget is given, or it is too small.
    """
    if (average_bits is None) == (total_bytes is None):
        raise UnsupportedQuantization("Give one budget: average bits or bytes.")
    choices = measure(model, settings, calibration, progress, damping, sums)
    if average_bits is not None:
        budget = int(average_bits * sum(c.weights for c in choices) / 8)
    else:
        assert total_bytes is not None
        floats = float_bytes(model.state_dict(), [c.name for c in choices])
        budget = total_bytes - floats
    widths = allocate(choices, budget)
    overrides = tuple(
        Override(layers=name, skip=False, settings={"bit_width": width})
        for name, width in widths.items()
    )
    return Recipe(settings=settings, overrides=overrides, damping=damping)


def _measure_layer(
    model: MedSAM,
    layer: QuantizableLayer,
    gram: torch.Tensor,
    settings: QuantizationSettings,
    probes: Sequence[CalibrationSample],
    exact: Sequence[_Answer],
) -> LayerChoice:
    weight = layer.weight().clone()
    sizes, errors, effect = {}, {}, 0.0
    for width in CANDIDATES:
        chosen = settings.model_copy(update={"bit_width": width})
        tensor, report = quantize_weight(weight, gram, chosen)
        sizes[width], errors[width] = tensor.stored_bytes, report.objective[-1]
        if width == PROBE:
            replace_weight(layer, tensor.dequantize())
            effect = sum(
                float((_changed(model, layer, at, was) - was.logits).square().mean())
                for at, was in zip(probes, exact, strict=True)
            )
            replace_weight(layer, weight)
    # The effect on the logits grows with the layer's own error.
    ratio = effect / errors[PROBE] if errors[PROBE] > 0 else 0.0
    harm = {width: ratio * error for width, error in errors.items()}
    return LayerChoice(layer.name, weight.numel(), sizes, harm)


def _answer(model: MedSAM, sample: CalibrationSample) -> _Answer:
    with torch.inference_mode():
        embedding = model.image_encoder(torch.from_numpy(sample.image)[None])
        return _Answer(embedding, _logits(model, embedding, sample))


def _changed(
    model: MedSAM, layer: QuantizableLayer, sample: CalibrationSample, was: _Answer
) -> torch.Tensor:
    """Return the logits with one layer quantized; the decoder's need no encoder."""
    if layer.name.startswith(DECODER):
        return _logits(model, was.embedding, sample)
    return _answer(model, sample).logits


def _logits(
    model: MedSAM, embedding: torch.Tensor, sample: CalibrationSample
) -> torch.Tensor:
    with torch.inference_mode():
        return model.decode(embedding, torch.from_numpy(sample.boxes))[0]
