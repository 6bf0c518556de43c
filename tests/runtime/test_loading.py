"""One name, precision and runtime give one model, through every door."""

import sys

import pytest
import torch

from napari_qmedsam.cancelling import cancellable
from napari_qmedsam.checkpoints.arithmetic import Arithmetic
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.cli import main
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.errors import Cancelled, UnsupportedBackend
from napari_qmedsam.evaluation.variants import GRAPHS, load_variant, variant_of
from napari_qmedsam.quantization.job import QuantizationJob
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.runtime import (
    BackendName,
    Device,
    Precision,
    Runtime,
    find_model,
    load,
    load_backend,
)
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.writing import write_volume

INT8 = Runtime(precision=Precision.INT8)


def test_python_shell_and_variants_run_the_same_int8_graphs(
    nncf_stand_in, float_file, tmp_path, monkeypatch, capsys
):
    backend = load_backend(str(float_file), precision="int8")
    assert (backend.info.precision, backend.info.model) == ("int8", "tiny-int8")
    variant = variant_of(str(float_file), precision="int8")
    assert (variant.precision, variant.method) == (Precision.INT8, GRAPHS)
    assert load_variant(variant).info == backend.info
    scan = write_volume(Volume(torch.zeros(1, 20, 20).numpy()), tmp_path / "s.nii.gz")
    command = ["qmedsam", "segment", str(scan), "--box", "0,2,2,9,9", "--json"]
    command += ["--model", str(float_file), "--precision", "int8"]
    monkeypatch.setattr(sys, "argv", [*command, "-o", str(tmp_path / "l.nii.gz")])
    with pytest.raises(SystemExit) as stop:
        main()
    out, error = capsys.readouterr()
    assert not stop.value.code
    assert '"model": "tiny-int8"' in out
    assert "NNCF makes one" in error
    assert nncf_stand_in == ["tiny"]  # once


def test_a_sibling_that_was_trained_is_taken_first(nncf_stand_in):
    assert find_model("demo", INT8).name == "demo-qat"
    assert find_model("demo").name == "demo"
    variant = variant_of("demo", backend="torch", precision="int8")
    assert load_variant(variant).info.model == "demo-qat"
    assert not nncf_stand_in


def test_making_graphs_can_be_cancelled(nncf_stand_in, float_file):
    with cancellable(lambda: True), pytest.raises(Cancelled):
        find_model(str(float_file), INT8)


def test_packed_weights_have_no_int8_form(nncf_stand_in, float_file, tmp_path):
    target = tmp_path / "packed.qmedsam.safetensors"
    settings = QuantizationSettings.of(method="rtn")
    plan = CalibrationPlan(slices=1)
    QuantizationJob(resolve_model(str(float_file)), settings, plan).run(target)
    assert resolve_model(str(target)).arithmetic is Arithmetic.PACKED
    with pytest.raises(UnsupportedBackend, match="Start from the float model"):
        load_backend(str(target), precision="int8")
    assert not nncf_stand_in


def test_a_runtime_is_read_from_text_and_valid_from_then_on():
    runtime = Runtime.parse("torch", "int8", "cpu", 2)
    assert runtime == Runtime(BackendName.TORCH, Device.CPU, Precision.INT8, 2)
    for wrong, complaint in (
        ({"backend": "tensorrt"}, "'tensorrt'. Known: openvino, onnxruntime, torch"),
        ({"precision": "fp64"}, "'fp64'. Known: fp32, bf16"),
        ({"device": "tpu"}, "'tpu'. Known: auto, cpu, cuda"),
        ({"device": "cuda"}, "'openvino' does not run on 'cuda'"),
        ({"threads": -1}, "threads must be 0 or more"),
    ):
        with pytest.raises(UnsupportedBackend, match=complaint):
            Runtime.parse(**wrong)


def test_the_device_is_asked_for_and_told(float_file):
    cpu = Runtime(BackendName.TORCH, Device.CPU)
    info = load(find_model(str(float_file), cpu), cpu).info
    assert info.device == "cpu"
    assert info.key.endswith("torch/fp32/cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UnsupportedBackend, match="finds no device 'cuda'"):
            load_backend(str(float_file), "torch", device="cuda")
