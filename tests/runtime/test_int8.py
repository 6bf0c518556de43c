"""Quantized models run in int8, agree between runtimes, and go out and in."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_qmedsam.checkpoints.exported import read_graph
from napari_qmedsam.checkpoints.openvino_import import import_openvino
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.errors import (
    BadCheckpoint,
    InvalidPrompt,
    InvalidSettings,
    MissingDependency,
    UnsupportedBackend,
    UnsupportedQuantization,
)
from napari_qmedsam.models import build_model
from napari_qmedsam.models.fake_quantized.fixed import fixed
from napari_qmedsam.models.fake_quantized.model import (
    _quantized,
    collect_statistics,
    fake_quantize,
    quantizers,
)
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.models.mask_decoder import DownscalingAttention
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.runtime import (
    load_backend,
    onnx_conversion,
    onnx_import,
    overflow,
    tracing,
)
from napari_qmedsam.runtime.executed import executed_products
from napari_qmedsam.runtime.exporting import ExportFormat, export_model
from napari_qmedsam.runtime.onnx_backend import inference_session

BOXES = np.array([[4, 6, 40, 50], [10, 10, 30, 20], [2, 2, 60, 60]], np.float32)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((3, 64, 64), np.float32)


def quantized_file(config, folder: Path, settings: FakeQuantSettings) -> Path:
    torch.manual_seed(0)
    slices = [torch.from_numpy(image(seed))[None] for seed in range(3)]
    model = fake_quantize(settled(build_model(config), slices), settings)
    collect_statistics(model, [(x, torch.from_numpy(BOXES)) for x in slices])
    return save_model(model, folder / "qat.safetensors")


def settled(model: MedSAM, slices: list[torch.Tensor]) -> MedSAM:
    """Let batch norms see some slices, so that features are as large as trained ones.

    OpenVINO moves scales behind layer norms, and leaves their epsilon as it is: next
    to the features of random weights it would not be small.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean
    model.train()
    with torch.no_grad():
        for each in slices:
            model.image_encoder(each)
    return model.eval()


@pytest.fixture
def qat(tiny_config, tmp_path) -> Path:
    """A quantized model that no processor's kernels overflow on."""
    return quantized_file(tiny_config, tmp_path, FakeQuantSettings(7))


def answers(backend) -> tuple[np.ndarray, np.ndarray]:
    embedding = backend.encode(image(9))
    return embedding, backend.decode(embedding, BOXES)


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


# Running ---------------------------------------------------------------------


def test_every_product_of_the_encoder_runs_in_int8(qat, tmp_path):
    result = export_model(
        resolve_model(str(qat)), ExportFormat.OPENVINO, tmp_path / "graphs"
    )
    assert result.encoder.int8
    assert not result.encoder.floating
    # In the decoder the prompt encoder is float, and transposed convolutions unpack
    # their weights where there is no kernel for them.
    assert len(result.decoder.int8) >= 35
    known = ("prompt_encoder", "ConvolutionBackpropData")
    for name in result.decoder.floating:
        assert any(part in name for part in known), name


BLOCKS = {
    "linear": (lambda: nn.Linear(64, 32), [(1, 50, 64)]),
    "convolution": (lambda: nn.Conv2d(16, 32, 3, padding=1), [(1, 16, 20, 20)]),
    "depthwise": (lambda: nn.Conv2d(16, 16, 3, padding=1, groups=16), [(1, 16, 9, 9)]),
    "transposed": (lambda: nn.ConvTranspose2d(16, 8, 2, 2), [(1, 16, 9, 9)]),
    "attention": (
        lambda: DownscalingAttention(32, 16, 2),
        [(2, 5, 32), (2, 40, 32), (2, 40, 32)],
    ),
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("bits", [4, 7])
def test_int8_kernels_compute_what_torch_does(block, bits):
    """Inputs are extreme, so that kernels that overflow would be found out."""
    make, shapes = BLOCKS[block]
    torch.manual_seed(0)
    module = _quantized(make().eval(), "block", FakeQuantSettings(bits))
    inputs = [4 * torch.randn(shape).abs().sqrt() for shape in shapes]
    with torch.no_grad():
        for _, quantizer in quantizers(module):
            quantizer.learned.collecting = True
        module(*inputs)
        for _, quantizer in quantizers(module):
            quantizer.learned.settle()
            quantizer.learned.set(0.3 * float(quantizer.learned.value))
        expected = module(*inputs).numpy()
    with tracing.quiet_tracing():
        traced = tracing.trace(fixed(module), tuple(inputs))
        graph = import_openvino().convert_model(
            traced, example_input=tuple(inputs), input=shapes
        )
    compiled = import_openvino().compile_model(
        graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    products = executed_products(compiled)
    assert products.int8
    assert not products.floating
    assert error(compiled([x.numpy() for x in inputs])[0], expected) < 2e-3


def test_weights_of_8_bits_do_not_overflow_on_onnx_runtime(tmp_path):
    """Its own choice of kernels would, without an error, where there is no VNNI."""
    pytest.importorskip("onnxruntime", reason="extra onnx")
    layer = nn.Linear(64, 32, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    module = _quantized(layer.eval(), "block", FakeQuantSettings(8))
    module.input_quant.learned.set(1.0)
    largest = torch.full((1, 50, 64), 127 / 128)
    path = tmp_path / "linear.onnx"
    with tracing.quiet_tracing():
        torch.onnx.export(
            fixed(module), (largest,), path, input_names=["x"], dynamo=False
        )
    graph = onnx_import.import_onnx().load(path)
    assert onnx_conversion.store_integers(graph) == 1
    path.write_bytes(graph.SerializeToString())
    (result,) = inference_session(path).run(None, {"x": largest.numpy()})
    assert np.allclose(result, 64 * 127 / 128)


def test_runtimes_agree_and_tell_that_it_is_int8(tiny_config, tmp_path):
    pytest.importorskip("onnxruntime", reason="extra onnx")
    # With activations of 4 bits, one value on the other side of a rounding would
    # move random weights' answers by a tenth.
    settings = FakeQuantSettings(4, 8, per_channel=True)
    path = str(quantized_file(tiny_config, tmp_path, settings))
    results = {}
    for name in ("torch", "openvino", "onnxruntime"):
        backend = load_backend(path, name, precision="int8")
        assert backend.info.precision == "int8"
        assert backend.info.model == "qat.safetensors"
        results[name] = answers(backend)
    # A few values fall on the other side of a rounding.
    for name in ("openvino", "onnxruntime"):
        for ours, theirs in zip(results[name], results["torch"], strict=True):
            assert error(ours, theirs) < 0.05


def test_a_quantized_model_runs_in_int8_without_being_asked(qat):
    assert load_backend(str(qat)).info.precision == "int8"


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_a_float_model_has_no_int8_form_but_on_openvino(tiny_config, tmp_path, backend):
    path = save_model(build_model(tiny_config), tmp_path / "float.safetensors")
    with pytest.raises(UnsupportedBackend, match="nncf-int8"):
        load_backend(str(path), backend, precision="int8")


def test_points_work_on_quantized_models(qat):
    backend = load_backend(str(qat))
    embedding = backend.encode(image(1))
    points = np.full((3, 1, 2), 20, np.float32), np.ones((3, 1), np.float32)
    assert backend.decode(embedding, BOXES, points).shape == (3, 32, 32)


@pytest.mark.parametrize("overflows", [False, True])
def test_weights_of_8_bits_run_in_float_where_they_would_overflow(
    tiny_config, tmp_path, monkeypatch, overflows
):
    path = quantized_file(tiny_config, tmp_path, FakeQuantSettings(8))
    really = overflow.processor_overflows()
    monkeypatch.setattr(overflow, "processor_overflows", lambda: overflows)
    backend = load_backend(str(path))
    assert backend.info.precision == ("fp32" if overflows else "int8")
    exported = export_model(
        resolve_model(str(path)), ExportFormat.OPENVINO, tmp_path / "graphs"
    )
    assert bool(exported.encoder.int8) is not overflows
    if overflows or not really:
        reference = answers(load_backend(str(path), "torch"))
        for ours, theirs in zip(answers(backend), reference, strict=True):
            assert error(ours, theirs) < 0.05


def test_only_matrix_weights_beyond_64_can_overflow():
    op = pytest.importorskip("openvino").opset13

    def safe(codes: np.ndarray) -> bool:
        import openvino

        weight = op.convert(op.constant(codes.astype(np.int8)), np.float32)
        return overflow.weights_are_safe(openvino.Model([weight], []))

    assert safe(np.full((4, 4), 64))
    assert not safe(np.full((4, 4), 65))
    assert not safe(np.full((4, 4), -127))
    assert safe(np.full((4, 1, 1, 3, 3), 127))  # depthwise
    assert safe(np.full(4, 127))


def test_the_processor_is_judged_by_what_it_computes():
    assert isinstance(overflow.processor_overflows(), bool)


# Checkpoints -----------------------------------------------------------------


def test_a_brevitas_state_dict_loads_without_brevitas(tiny_config, tmp_path):
    path = quantized_file(tiny_config, tmp_path, FakeQuantSettings(8))
    model = resolve_model(str(path)).build()
    torch.save(model.state_dict(), tmp_path / "brevitas.pth")
    loaded = resolve_model("tiny", tmp_path / "brevitas.pth")
    assert loaded.fake_quant == FakeQuantSettings()
    assert loaded.name == "brevitas.pth"
    with torch.no_grad():
        x, boxes = torch.from_numpy(image(4))[None], torch.from_numpy(BOXES)
        assert torch.equal(loaded.build()(x, boxes), model(x, boxes))


def test_a_state_dict_with_a_quantized_encoder_has_a_float_decoder(
    tiny_config, tmp_path
):
    settings = FakeQuantSettings(8, decoder=False)
    path = quantized_file(tiny_config, tmp_path, settings)
    state = resolve_model(str(path)).build().state_dict()
    # Other versions keep scales as tensors of one element.
    state = {n: v.reshape(1) if "scaling_impl" in n else v for n, v in state.items()}
    torch.save({"model": state}, tmp_path / "stage1.pth")
    loaded = resolve_model("tiny", tmp_path / "stage1.pth")
    assert loaded.fake_quant == settings
    assert loaded.build().fake_quant == settings


def test_missing_scales_and_other_architectures_are_told(tiny_config, tmp_path):
    path = quantized_file(tiny_config, tmp_path, FakeQuantSettings(8))
    state = resolve_model(str(path)).build().state_dict()
    lost = "image_encoder.neck.0.input_quant"
    kept = {name: value for name, value in state.items() if lost not in name}
    torch.save(kept, tmp_path / "lost.pth")
    with pytest.raises(BadCheckpoint, match=r"1 missing .*neck\.0.*never ran"):
        resolve_model("tiny", tmp_path / "lost.pth").build()
    torch.save(state, tmp_path / "tiny.pth")
    with pytest.raises(BadCheckpoint, match="does not fit the model 'lite_medsam'"):
        resolve_model("lite_medsam", tmp_path / "tiny.pth").build()


def test_damaged_settings_in_a_card_are_told(tiny_config, tmp_path, qat):
    import json

    from safetensors.torch import load_file, save_file

    card = {"architecture": "tiny", "fake_quantized": {"bits": 8}}
    path = tmp_path / "damaged.safetensors"
    save_file(load_file(qat), path, metadata={"qmedsam": json.dumps(card)})
    with pytest.raises(BadCheckpoint, match=r"damaged\.safetensors"):
        resolve_model(str(path)).build()


def test_a_quantizer_that_never_ran_cannot_be_exported(tiny_config):
    model = fake_quantize(build_model(tiny_config), FakeQuantSettings())
    with pytest.raises(UnsupportedQuantization, match="no scale"):
        fixed(model)


# Exported graphs -------------------------------------------------------------


@pytest.mark.parametrize("form", [ExportFormat.OPENVINO, ExportFormat.ONNX_QCDQ])
def test_exported_folders_load_as_models_with_the_same_answers(qat, tmp_path, form):
    if form is not ExportFormat.OPENVINO:
        pytest.importorskip("onnx", reason="extra onnx")
    source = resolve_model(str(qat))
    folder = tmp_path / "exported"
    export_model(source, form, folder)
    expected = answers(load_backend(str(qat)))
    backend = load_backend(str(folder), precision="int8")
    assert backend.info.model == "exported"
    for ours, theirs in zip(answers(backend), expected, strict=True):
        assert error(ours, theirs) < 0.05
    points = np.zeros((3, 1, 2), np.float32), np.ones((3, 1), np.float32)
    with pytest.raises(InvalidPrompt, match="boxes only"):
        backend.decode(expected[0], BOXES, points)
    with pytest.raises(UnsupportedBackend, match="exported pair"):
        load_backend(str(folder), "torch")
    with pytest.raises(InvalidSettings, match="exported already"):
        export_model(resolve_model(str(folder)), form, tmp_path / "again")


def test_qcdq_files_hold_integers(qat, tmp_path):
    onnx = pytest.importorskip("onnx", reason="extra onnx")
    export_model(resolve_model(str(qat)), ExportFormat.ONNX_QCDQ, tmp_path / "q")
    graph = onnx.load(tmp_path / "q" / "encoder.onnx").graph
    kinds = {node.op_type for node in graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        assert node.op_type != "QuantizeLinear" or node.input[0] not in constants
    weights = [t for t in constants.values() if len(t.dims) >= 2]
    integers = [t for t in weights if t.data_type == onnx.TensorProto.INT8]
    layers = [
        m
        for m in build_model("tiny").image_encoder.modules()
        if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)
    ]
    assert len(integers) == len(layers)


def test_float_models_go_out_as_onnx_but_not_as_qcdq(tiny_config, tmp_path):
    pytest.importorskip("onnxruntime", reason="extra onnx")
    path = save_model(build_model(tiny_config), tmp_path / "float.safetensors")
    source = resolve_model(str(path))
    with pytest.raises(UnsupportedQuantization, match="QCDQ"):
        export_model(source, ExportFormat.ONNX_QCDQ, tmp_path / "no")
    export_model(source, ExportFormat.ONNX, tmp_path / "onnx")
    expected = answers(load_backend(str(path), "torch"))
    for name in ("onnxruntime", "openvino"):
        backend = load_backend(str(tmp_path / "onnx"), name)
        assert backend.info.precision == "fp32"
        for ours, theirs in zip(answers(backend), expected, strict=True):
            assert np.abs(ours - theirs).max() < 1e-3


def test_boxes_of_three_axes_are_understood(tiny_config, tmp_path):
    """QMedSAM's own exports take boxes as (n, 1, 4)."""
    import openvino

    path = save_model(build_model(tiny_config), tmp_path / "float.safetensors")
    folder = tmp_path / "theirs"
    export_model(resolve_model(str(path)), ExportFormat.OPENVINO, folder)
    expected = answers(load_backend(str(folder)))
    op, graph = openvino.opset13, read_graph(folder / "decoder.xml")
    old = next(p for p in graph.get_parameters() if len(p.get_partial_shape()) == 2)
    new = op.parameter([-1, 1, 4], np.float32)
    flat = op.reshape(new, op.constant(np.array([-1, 4])), False)
    old.output(0).replace(flat.output(0))
    rest = [p for p in graph.get_parameters() if p is not old]
    rest = [p for p in rest if len(p.get_partial_shape()) == 4]
    changed = openvino.Model(graph.get_results(), [new, *rest])
    for file in folder.glob("decoder.*"):
        file.unlink()
    openvino.save_model(changed, folder / "decoder.xml", compress_to_fp16=False)
    for ours, theirs in zip(answers(load_backend(str(folder))), expected, strict=True):
        assert np.abs(ours - theirs).max() < 1e-5


def test_folders_that_hold_no_model_are_told(tiny_config, tmp_path):
    with pytest.raises(BadCheckpoint, match=r"encoder\.onnx"):
        resolve_model(str(tmp_path))
    for part in ("encoder", "decoder"):
        (tmp_path / f"{part}.xml").write_text("<net", encoding="utf-8")
    with pytest.raises(BadCheckpoint, match="Cannot read the graph"):
        resolve_model(str(tmp_path))


def test_graphs_of_an_unknown_architecture_are_told(tiny_config, tmp_path):
    import openvino

    op = openvino.opset13
    x = op.parameter([1, 3, 48, 48], np.float32)
    for part in ("encoder", "decoder"):
        graph = openvino.Model([op.relu(x)], [x])
        openvino.save_model(graph, tmp_path / f"{part}.xml")
    with pytest.raises(BadCheckpoint, match="no known architecture"):
        resolve_model(str(tmp_path))


def test_openvino_graphs_do_not_run_on_onnx_runtime(qat, tmp_path):
    pytest.importorskip("onnxruntime", reason="extra onnx")
    export_model(resolve_model(str(qat)), ExportFormat.OPENVINO, tmp_path / "ir")
    with pytest.raises(UnsupportedBackend, match="Run it on OpenVINO"):
        load_backend(str(tmp_path / "ir"), "onnxruntime")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_extra_says_what_to_install(qat, tmp_path, monkeypatch, package):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(__import__("sys").modules, package, None)
    match = r"pip install napari-qmedsam\[onnx\]"
    with pytest.raises(MissingDependency, match=match):
        load_backend(str(qat), "onnxruntime")
