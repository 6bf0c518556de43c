"""`auto` takes what is fast and gives the masks of fp32, and keeps what it found."""

from types import SimpleNamespace

import numpy as np
import pytest

from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.errors import UnsupportedBackend
from napari_qmedsam.runtime import BackendName, Device, Runtime, load_backend, settle
from napari_qmedsam.runtime.auto_precision import Trial, fastest, reason, tried
from napari_qmedsam.runtime.loading import precisions
from napari_qmedsam.runtime.openvino_backend import OpenVINOBackend

FP32, BF16, INT8 = Precision.FP32, Precision.BF16, Precision.INT8


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], FP32),
        ([Trial(BF16, 50, 0.999)], BF16),
        ([Trial(BF16, 50, 0.994)], FP32),  # other masks
        ([Trial(BF16, 95, 1.0)], FP32),  # not worth it
        ([Trial(BF16, 50, 0.999), Trial(INT8, 40, 0.997)], INT8),
        ([Trial(BF16, 50, 0.999), Trial(INT8, 40, 0.9)], BF16),
    ],
)
def test_the_fastest_that_agrees_is_taken(others, expected):
    trials = [Trial(FP32, 100, 1.0), *others]
    best = fastest(trials)
    assert best.precision is expected
    said = reason(trials, best)
    assert said.startswith(f"Precision {expected}")
    assert all(f"{trial.milliseconds} ms" in said for trial in others)


class Drawing:
    """Stands in for a model: each box as a square, larger by `error` pixels."""

    def __init__(self, error: int) -> None:
        self.error = error

    def encode(self, model_input):
        return model_input[None]

    def decode(self, image_embedding, boxes, points=None):
        logits = np.full((len(boxes), 64, 64), -1.0)
        logits[:, 10 : 30 + self.error, 10:30] = 1
        return logits


def test_each_is_tried_once_on_a_machine_and_judged_by_its_masks(
    tmp_path, monkeypatch, tiny_config
):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))
    source = SimpleNamespace(name="tiny", sha256="0", config=tiny_config)
    loaded, said = [], []

    def load(source, runtime):
        loaded.append(runtime.precision)
        return Drawing(0 if runtime.precision is FP32 else 1)

    forms = {FP32: source, BF16: source}
    first = tried(Runtime(), forms, load, said.append)
    assert [trial.precision for trial in first] == loaded == [FP32, BF16]
    assert first[1].agreement == pytest.approx(40 / 41)  # 20 and 21 rows
    assert "Trying 'tiny' in fp32, bf16" in said[0]
    assert tried(Runtime(), forms, load, said.append) == first
    assert len(loaded) == 2
    assert len(said) == 1
    (kept,) = (tmp_path / "precision").iterdir()
    kept.write_text("[{")
    assert len(tried(Runtime(), forms, load, said.append)) == 2
    assert len(loaded) == 4


def test_what_is_settled_is_left_alone():
    assert settle("no such model", Runtime()) == Runtime()


def test_auto_settles_on_what_the_machine_has(monkeypatch, tmp_path):
    said = []
    runtime = settle("demo", Runtime(precision=Precision.AUTO), notify=said.append)
    assert runtime.precision in (*OpenVINOBackend.floats(Device.CPU), INT8)
    assert said[-1].startswith(f"Precision {runtime.precision}")
    assert load_backend("demo", precision="auto").info.precision == runtime.precision


def test_models_in_int8_stay_what_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))
    with pytest.raises(UnsupportedBackend, match="runs in int8, not in bf16"):
        load_backend("demo-qat", precision="bf16")


def test_fast_is_for_packed_weights():
    with pytest.raises(UnsupportedBackend, match="no packed weights"):
        load_backend("demo", precision="fast")


def test_floats_without_instructions_are_refused(monkeypatch):
    monkeypatch.setattr(OpenVINOBackend, "floats", staticmethod(lambda device: (FP32,)))
    with pytest.raises(UnsupportedBackend, match="no instructions for bf16"):
        load_backend("demo", precision="bf16")


def test_a_backend_refuses_what_it_does_not_compute():
    with pytest.raises(UnsupportedBackend, match="does not compute in 'bf16'"):
        Runtime.parse("onnxruntime", "bf16")


@pytest.mark.parametrize("backend", [BackendName.OPENVINO, BackendName.TORCH])
def test_bf16_embeddings_are_those_of_fp32_rounded(backend):
    runtime = Runtime(backend)
    if BF16 not in backend.entry.floats(Device.CPU):
        pytest.skip("this processor has no bf16")
    image = np.random.default_rng(0).random((3, 256, 256), np.float32)
    exact = load_backend("demo", runtime.backend).encode(image)
    lower = load_backend("demo", runtime.backend, precision="bf16")
    assert lower.info.precision == "bf16"
    error = np.linalg.norm(lower.encode(image) - exact) / np.linalg.norm(exact)
    assert 1e-4 < error < 0.1
    assert lower.info.key != load_backend("demo", runtime.backend).info.key


def test_the_window_offers_what_a_model_can_have(tmp_path):
    assert precisions("demo-qat", Runtime()) == (INT8,)
    offered = precisions("demo", Runtime())
    assert offered == (FP32, BF16, INT8, Precision.AUTO)
    assert BF16 not in precisions("demo", Runtime(BackendName.ONNXRUNTIME))
    assert resolve_model("demo").name == "demo"
