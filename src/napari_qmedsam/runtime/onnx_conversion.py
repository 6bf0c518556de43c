"""Torch model to a pair of ONNX graphs; quantized models in QDQ form.

QDQ and QCDQ mean pairs of QuantizeLinear and DequantizeLinear around every
product's inputs. Activations of 8 bits need no Clip between the two. Weights
are stored as int8 with a DequantizeLinear behind them, so a quantized file has
a quarter of the float one's size.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_qmedsam.checkpoints.arithmetic import Arithmetic
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.runtime.cache import cache_folder, cache_key, make_once
from napari_qmedsam.runtime.onnx_cleaning import cleaned_pair
from napari_qmedsam.runtime.onnx_import import import_onnx

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""Of the ONNX operators; widely understood, and the last with one form of Q/DQ."""

CONVERSION_VERSION = 2
"""Raise it when the conversion changes, so that old graphs are not reused."""


def onnx_pair(source: ModelSource) -> tuple[Path, Path]:
    """Return encoder and decoder, converting or cleaning them the first time.

    Raises
    ------
    MissingDependency
        If onnx is not installed and something has to be converted.
    UnsupportedBackend
        If the model is a pair of OpenVINO graphs.
    """
    if source.graphs is not None:
        return cleaned_pair(source.graphs)
    key = cache_key(source.sha256, repr(source.config), CONVERSION_VERSION)
    folder = cache_folder() / "onnx" / f"{source.config.name}-{key}"
    make_once(folder, "decoder.onnx", lambda work: write_onnx(source, work))
    return folder / "encoder.onnx", folder / "decoder.onnx"


def write_onnx(source: ModelSource, folder: Path) -> None:
    """Write encoder.onnx and decoder.onnx.

    Raises
    ------
    MissingDependency
        If onnx is not installed.
    BadCheckpoint, UnsupportedQuantization
        If the weights do not fit, or scales are missing.
    """
    onnx = import_onnx()
    import torch

    from napari_qmedsam.runtime import tracing

    model = tracing.traceable(source.build())
    image = tracing.example_image(source.config)
    prompts = tracing.example_prompts(source.config)
    boxes = {0: "boxes"}
    jobs: tuple[tuple[str, Any, Any, list[str], list[str], dict], ...] = (
        ("encoder", model.image_encoder, (image,), ["image"], ["image_embedding"], {}),
        (
            "decoder",
            tracing.Decoder(model),
            prompts,
            ["image_embedding", "boxes"],
            ["low_res_logits"],
            {"boxes": boxes, "low_res_logits": boxes},
        ),
    )
    for name, module, example, inputs, outputs, axes in jobs:
        path = folder / f"{name}.onnx"
        with tracing.quiet_tracing():
            torch.onnx.export(
                module.eval(),
                example,
                path,
                input_names=inputs,
                output_names=outputs,
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
        graph = onnx.load(path)
        if source.arithmetic is Arithmetic.INT8:
            store_integers(graph)
        onnx.checker.check_model(graph)
        onnx.save(graph, path)


def store_integers(model: "onnx.ModelProto") -> int:
    """Replace float weights in front of a QuantizeLinear by their codes.

    Returns
    -------
    int
        Number of weights replaced.
    """
    from onnx import numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    replaced, gone = 0, []
    for node in list(graph.node):
        if node.op_type != "QuantizeLinear" or node.input[0] not in constants:
            continue
        weight, scale, zero = (
            numpy_helper.to_array(constants[name]) for name in node.input
        )
        if scale.ndim:  # one for each channel
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            shape = [1] * weight.ndim
            shape[axis] = -1
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        limits = np.iinfo(zero.dtype)
        codes = np.round(weight / scale) + zero.astype(np.float32)
        codes = np.clip(codes, limits.min, limits.max).astype(zero.dtype)
        graph.initializer.append(numpy_helper.from_array(codes, node.output[0]))
        gone.append(node)
        replaced += 1
    for node in gone:
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    used |= {output.name for output in graph.output}
    for tensor in list(graph.initializer):
        if tensor.name not in used:
            graph.initializer.remove(tensor)
    return replaced
