"""Commands around int8: export, quantize --method nncf-int8, --precision."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_qmedsam.checkpoints.fake_quantized import empty_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.cli import main
from napari_qmedsam.models import build_model
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.writing import write_volume


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line; return status, standard output and error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["qmedsam", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def float_file(tiny_config, tmp_path) -> Path:
    return save_model(build_model(tiny_config), tmp_path / "float.safetensors")


@pytest.fixture
def scan(tmp_path) -> Path:
    array = np.random.default_rng(0).integers(0, 255, (2, 40, 50)).astype(np.int16)
    return write_volume(Volume(array), tmp_path / "scan.nii.gz")


def test_export_tells_what_runs_in_int8(run, tiny_config, tmp_path):
    model = empty_model(tiny_config, FakeQuantSettings(7))
    path = save_model(model, tmp_path / "qat.safetensors")
    status, out, _ = run("export", path, "-o", tmp_path / "out", "--json")
    assert status == 0
    report = json.loads(out)
    assert report["encoder"]["float"] == []
    assert report["encoder"]["int8"]
    assert all(Path(name).is_file() for name in report["files"])
    status, out, _ = run("info", path, "--json")
    assert json.loads(out)["fake_quantized"]["weight_bit_width"] == 7


def test_export_refuses_unknown_formats_and_float_qcdq(run, float_file):
    status, _, error = run("export", float_file, "--format", "tflite")
    assert status == 2
    assert "openvino or onnx or onnx-qcdq" in error
    status, _, error = run("export", float_file, "--format", "onnx-qcdq")
    assert status == 2
    assert "qmedsam train qat" in error


def test_trained_int8_models_are_not_quantized_again(run, tiny_config, tmp_path):
    model = empty_model(tiny_config, FakeQuantSettings())
    path = save_model(model, tmp_path / "qat.safetensors")
    output = tmp_path / "x.qmedsam.safetensors"
    for method in ("comq", "nncf-int8"):
        arguments = ["--model", path, "--method", method, "--slices", 1]
        arguments += ["-o", output if method == "comq" else tmp_path / "x"]
        status, _, error = run("quantize", *arguments)
        assert status == 2
        assert "already" in error


def test_nncf_makes_a_folder_that_segments_in_int8(run, float_file, scan, tmp_path):
    pytest.importorskip("nncf", reason="extra nncf")
    folder = tmp_path / "int8"
    status, out, error = run(
        *("quantize", "--model", float_file, "--method", "nncf-int8"),
        *("--slices", 2, "-o", folder, "--json"),
    )
    assert (status, error.count("Error")) == (0, 0)
    assert json.loads(out.splitlines()[-1])["output"] == str(folder)
    labels = tmp_path / "labels.nii.gz"
    status, out, _ = run(
        *("segment", scan, "--box", "0,5,5,30,30", "--model", folder),
        *("-o", labels, "--json"),
    )
    assert status == 0
    report = json.loads(out)
    assert (report["model"], report["precision"]) == ("int8", "int8")
    assert labels.exists()


@pytest.mark.slow
def test_precision_int8_lets_nncf_quantize_a_float_model_once(
    run, float_file, scan, tmp_path, monkeypatch
):
    pytest.importorskip("nncf", reason="extra nncf")
    from napari_qmedsam.runtime import nncf_subprocess

    plan = nncf_subprocess.CalibrationPlan(slices=2)
    monkeypatch.setattr(nncf_subprocess, "PLAN", plan)
    asked = ["segment", scan, "--box", "0,5,5,30,30", "--model", float_file]
    asked += ["--precision", "int8", "-o", tmp_path / "labels.nii.gz", "--json"]
    status, out, error = run(*asked)
    assert status == 0
    assert "NNCF makes one" in error
    assert json.loads(out.splitlines()[-1])["precision"] == "int8"
    monkeypatch.setattr(
        nncf_subprocess, "quantize_graphs_in_subprocess", None
    )  # not needed again
    assert run(*asked)[0] == 0


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_other_backends_have_no_int8_of_float_models(run, float_file, scan, backend):
    asked = ["segment", scan, "--box", "0,5,5,30,30", "--model", float_file]
    status, _, error = run(*asked, "--precision", "int8", "--backend", backend)
    assert status == 2
    assert "float model" in error


def test_missing_nncf_says_what_to_install(run, float_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    status, _, error = run(
        *("quantize", "--model", float_file, "--method", "nncf-int8"),
        *("--slices", 1, "-o", tmp_path / "int8"),
    )
    assert status == 2
    assert "pip install napari-qmedsam[nncf]" in error


def test_nncf_takes_none_of_our_settings(run, float_file):
    asked = ["quantize", "--model", float_file, "--method", "nncf-int8"]
    status, _, error = run(*asked, "--granularity", "channel")
    assert status == 2
    assert "its own settings" in error
