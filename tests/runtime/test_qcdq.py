"""QCDQ graphs as Brevitas writes them load as models and run in int8."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from napari_qmedsam.models import build_model
from napari_qmedsam.runtime import load_backend, tracing
from napari_qmedsam.runtime.executed import executed_products

onnx = pytest.importorskip("onnx", reason="extra onnx")

from napari_qmedsam.runtime.onnx_cleaning import clean  # noqa: E402

BITS = 7
"""Of the weights, so that no processor's kernels overflow."""

BOXES = np.array([[4, 6, 40, 50], [10, 10, 30, 20]], np.float32)


def quantize_layers(module: nn.Module, brevitas_nn, options: dict) -> None:
    """Put Brevitas's layers in place of torch's, with the same tensors."""
    for name, layer in list(module.named_children()):
        bias = getattr(layer, "bias", None) is not None
        if name == "iou_prediction_head":
            continue
        if type(layer) is nn.Linear:
            made = brevitas_nn.QuantLinear(
                layer.in_features, layer.out_features, bias=bias, **options
            )
        elif type(layer) is nn.Conv2d or type(layer) is nn.ConvTranspose2d:
            kind = getattr(brevitas_nn, f"Quant{type(layer).__name__}")
            made = kind(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                stride=layer.stride,
                padding=layer.padding,
                groups=layer.groups,
                bias=bias,
                **options,
            )
        else:
            quantize_layers(layer, brevitas_nn, options)
            continue
        made.load_state_dict(layer.state_dict(), strict=False)
        setattr(module, name, made)


@pytest.fixture(scope="module")
def brevitas_export():
    """Brevitas's own export; it asks for onnxoptimizer but need not run it."""
    reason = "the exporter; pip install napari-qmedsam[qat]"
    pytest.importorskip("brevitas", reason=reason)
    from brevitas.export import export_onnx_qcdq
    from brevitas.export.onnx import manager
    from brevitas.export.onnx.standard.qcdq.manager import StdQCDQONNXManager

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, "onnx", onnx)
        patch.setattr(manager, "opt", object())
        patch.setattr(StdQCDQONNXManager, "run_onnx_passes", False)
        yield export_onnx_qcdq


@pytest.fixture
def exported(
    brevitas_export, tiny_config, tmp_path
) -> tuple[Path, list[NDArray[np.float32]]]:
    """A folder with both graphs; a slice, and the model's answers to it and boxes."""
    import brevitas.nn as brevitas_nn
    from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat

    torch.manual_seed(0)
    model = build_model(tiny_config)
    options = {
        "input_quant": Int8ActPerTensorFloat,
        "weight_quant": Int8WeightPerTensorFloat,
        "weight_bit_width": BITS,
    }
    quantize_layers(model.image_encoder, brevitas_nn, options)
    quantize_layers(model.mask_decoder, brevitas_nn, options)
    image = tracing.example_image(tiny_config)
    boxes = torch.from_numpy(BOXES)
    model.train()
    with torch.no_grad():
        embedding = model.image_encoder(torch.rand(image.shape))
        model.decode(embedding, boxes)
        model.decode(embedding, boxes, multimask=True)
        model.eval()
        embedding = model.image_encoder(image)
        logits = model.decode(embedding, boxes)[0][:, 0]
    options = {"dynamo": False, "opset_version": 17}
    options["keep_initializers_as_inputs"] = False
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        brevitas_export(
            model.image_encoder,
            args=image,
            export_path=str(tmp_path / "encoder.onnx"),
            **options,
        )
        brevitas_export(
            tracing.Decoder(model),
            args=(embedding, boxes),
            export_path=str(tmp_path / "decoder.onnx"),
            input_names=["image_embedding", "boxes"],
            output_names=["logits"],
            dynamic_axes={"boxes": {0: "n"}, "logits": {0: "n"}},
            **options,
        )
    return tmp_path, [x.numpy() for x in (image[0], embedding, logits)]


def test_an_export_of_brevitas_runs_in_int8_with_the_same_answers(exported):
    folder, (image, embedding, logits) = exported
    openvino = load_backend(str(folder), precision="int8")
    assert openvino.info.precision == "int8"
    encoder = executed_products(openvino._encoder)
    assert encoder.int8
    floating = encoder.floating + executed_products(openvino._decoder).floating
    # Attention's products are not quantized in this model, nor are prompts.
    known = ("prompt_encoder", "MatMul", "ConvolutionBackpropData")
    assert all("attn/MatMul" in name for name in encoder.floating), encoder.floating
    assert all(any(part in name for part in known) for name in floating), floating
    backends = [openvino]
    if importlib.util.find_spec("onnxruntime"):
        backends.append(load_backend(str(folder), "onnxruntime"))
    for backend in backends:
        for ours, theirs in (
            (backend.encode(image), embedding),
            (backend.decode(embedding, BOXES), logits),
        ):
            off = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
            assert off < 0.05, backend.info.backend


# By hand -----------------------------------------------------------------------


def graph(nodes, constants) -> "onnx.ModelProto":
    info = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, inputs, [name]) for kind, inputs, name in nodes],
        "graph",
        [info("x", onnx.TensorProto.FLOAT, [1, 2])],
        [info("y", onnx.TensorProto.FLOAT, [1, 2])],
        [onnx.numpy_helper.from_array(v, name) for name, v in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 19)]
    return onnx.helper.make_model(made, opset_imports=opsets, ir_version=8)


def computed(model: "onnx.ModelProto", x: list[float]) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run(None, {"x": np.array([x], np.float32)})[0]


CONSTANTS = {
    "weight": np.array([[100, -100], [3, 4]], np.int8),
    "step": np.float32(0.5),
    "zero": np.int8(0),
    "low": np.int8(-8),
    "high": np.int8(7),
}


def test_weights_are_clipped_and_zero_points_left_out():
    model = graph(
        [
            ("Clip", ["weight", "low", "high"], "clipped"),
            ("DequantizeLinear", ["clipped", "step", "zero"], "w"),
            ("MatMul", ["x", "w"], "y"),
        ],
        CONSTANTS,
    )
    before = computed(model, [1, 10])
    assert before.tolist() == [[18.5, 16.0]]
    assert clean(model) == 1
    onnx.checker.check_model(model)
    assert [n.op_type for n in model.graph.node] == ["DequantizeLinear", "MatMul"]
    assert len(model.graph.node[0].input) == 2
    assert np.array_equal(computed(model, [1, 10]), before)


def test_codes_of_few_bits_are_clipped_before_they_are_rounded():
    model = graph(
        [
            ("QuantizeLinear", ["x", "step", "zero"], "codes"),
            ("Clip", ["codes", "low", "high"], "clipped"),
            ("DequantizeLinear", ["clipped", "step", "zero"], "y"),
        ],
        CONSTANTS,
    )
    before = computed(model, [9.0, -1.3])
    assert before.tolist() == [[3.5, -1.5]]
    assert clean(model) == 1
    onnx.checker.check_model(model)
    kinds = [n.op_type for n in model.graph.node]
    assert kinds == ["Clip", "QuantizeLinear", "DequantizeLinear"]
    for x in ([9.0, -1.3], [3.7, -4.3], [-9.0, 0.25]):
        assert computed(model, x).min() >= -4
    assert np.array_equal(computed(model, [9.0, -1.3]), before)


def test_values_that_are_clipped_as_floats_are_left_alone():
    bounds = {"least": np.float32(0), "most": np.float32(6)}
    model = graph([("Clip", ["x", "least", "most"], "y")], bounds)
    assert clean(model) == 0
    assert computed(model, [-1, 9]).tolist() == [[0, 6]]
