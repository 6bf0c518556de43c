"""export: files for other runtimes."""

import json
from pathlib import Path

from napari_qmedsam.checkpoints.fake_quantized import empty_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings


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
