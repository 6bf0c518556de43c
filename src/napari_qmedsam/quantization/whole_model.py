"""Quantize a whole model, layer by layer."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from napari_qmedsam.cancelling import check_cancelled, stopping_says
from napari_qmedsam.checkpoints.packed.model_file import float_bytes
from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor
from napari_qmedsam.datasets.calibration import CalibrationSet
from napari_qmedsam.errors import UnsupportedQuantization
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.quantization.calibration import GramPass
from napari_qmedsam.quantization.gram import damped
from napari_qmedsam.quantization.layer import LayerReport, quantize_weight
from napari_qmedsam.quantization.model_layers import (
    quantizable_layers,
    replace_weight,
    stages,
)
from napari_qmedsam.quantization.recipe import Recipe
from napari_qmedsam.quantization.sequential import BlockByBlock


@dataclass(frozen=True)
class QuantizationProgress:
    """One step of the work: a calibration slice seen, or a layer done.

    Parameters
    ----------
    done, total : int
        Steps, of slices and layers together.
    layer : str
    report : LayerReport or None
        None for slices.
    layers : int
        Layers in all; 0 for slices.
    """

    done: int
    total: int
    layer: str
    report: LayerReport | None = None
    layers: int = 0


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """A float model with some of its weights replaced by quantized ones.

    Parameters
    ----------
    model : MedSAM
        Holds the dequantized weights, so it computes what the file will.
    weights : dict of QuantizedTensor
        By name of the layer.
    reports : dict of LayerReport
    recipe : Recipe
    calibration : dict
        Provenance.
    sequential : bool
        Whether inputs came from the blocks quantized before.
    """

    model: MedSAM
    weights: Mapping[str, QuantizedTensor]
    reports: Mapping[str, LayerReport]
    recipe: Recipe
    calibration: Mapping = field(default_factory=dict)
    sequential: bool = False

    @property
    def effective_bits(self) -> float:
        """Stored bits per quantized weight, all included."""
        stored = sum(8 * tensor.stored_bytes for tensor in self.weights.values())
        count = sum(tensor.levels.numel() for tensor in self.weights.values())
        return stored / max(1, count)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors of the model: quantized ones and float ones."""
        floats = float_bytes(self.model.state_dict(), self.weights)
        return floats + sum(t.stored_bytes for t in self.weights.values())


def quantize_model(
    model: MedSAM,
    recipe: Recipe,
    calibration: CalibrationSet,
    *,
    sequential: bool | None = None,
    sums: GramPass | None = None,
    progress: Callable[[QuantizationProgress], None] = lambda step: None,
) -> QuantizedModel:
    """Quantize every layer of a model as the recipe says.

    Parameters
    ----------
    model : MedSAM
        Float; it is left as it is.
    recipe : Recipe
    calibration : CalibrationSet
    sequential : bool, optional
        Take each block's inputs from the model whose earlier blocks are
        already quantized, instead of from the float model. One pass over the
        slices per block. Default: up to 3 bits, unless there are `sums`.
    sums : GramPass, optional
        Over the layers of `model`, run to the end or part of the way: only
        the slices it has not seen are sent through the model. It stays whole,
        for other recipes. Not for `sequential`.
    progress : callable
        Called after every calibration slice and every layer.

    Raises
    ------
    Cancelled
        If the work is not wanted any more; nothing is changed.
    UnsupportedQuantization
        If the recipe does not fit the model, or it is quantized already.
    """
    if model.fake_quant is not None:
        raise UnsupportedQuantization(
            "The model is trained for int8 already. Start from the float model."
        )
    result = copy.deepcopy(model).eval()
    layers = quantizable_layers(result)
    recipe.check([layer.name for layer in layers])
    chosen = {layer.name: recipe.for_layer(layer.name) for layer in layers}
    layers = [layer for layer in layers if chosen[layer.name] is not None]
    needs_inputs = any(
        settings is not None and settings.method.traits.needs_inputs
        for settings in chosen.values()
    )
    if sequential is None:
        sequential = sums is None and recipe.sequential
    assert sums is None or not sequential
    runs = stages(layers) if sequential and needs_inputs else [layers]
    slices = len(calibration.samples) if needs_inputs else 0
    total = slices * len(runs) + len(layers)
    steps = 0
    weights: dict[str, QuantizedTensor] = {}
    reports: dict[str, LayerReport] = {}
    by_block = BlockByBlock(result)
    for run in runs:
        # Sums of layers that need none would be memory for nothing.
        gram_pass = sums or GramPass(run if needs_inputs else [])
        if needs_inputs:
            before = steps

            def seen(done: int, all_: int, before: int = before) -> None:
                progress(QuantizationProgress(before + done, total, "calibration"))

            calibrated = result if sums is None else model
            forward = None
            if sequential:
                forward = partial(by_block.run, run)
            gram_pass.run(
                calibrated,
                calibration.samples,
                seen,
                forward,
                is_resumable=sums is not None,
            )
            # Later ones are let go of as layers are done; `sums` keeps its own.
            gram_pass = gram_pass.copy()
            steps += slices
        for layer in run:
            check_cancelled(f"Quantization stopped before layer {layer.name}.")
            settings = chosen[layer.name]
            assert settings is not None  # or the layer would be left out
            gram = None
            if needs_inputs:
                damping = recipe.damping_at(settings.bit_width)
                gram = damped(gram_pass.take(layer), damping)
            with stopping_says(f"Quantization stopped in layer {layer.name}."):
                tensor, report = quantize_weight(layer.weight(), gram, settings)
            weights[layer.name], reports[layer.name] = tensor, report
            replace_weight(layer, tensor.dequantize())
            steps += 1
            progress(
                QuantizationProgress(steps, total, layer.name, report, len(layers))
            )
    return QuantizedModel(
        result, weights, reports, recipe, dict(calibration.provenance), sequential
    )
