"""A device is trusted once its masks are the CPU's. Faked: none is needed here."""

from dataclasses import replace

import numpy as np
import pytest

from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.errors import UnsupportedBackend
from napari_qmedsam.runtime import BackendName, Device, Runtime, load, load_backend
from napari_qmedsam.runtime.openvino_backend import OpenVINOBackend
from napari_qmedsam.runtime.protocol import info_of
from napari_qmedsam.runtime.registry import BackendEntry
from napari_qmedsam.runtime.torch_backend import TorchBackend

ON_NPU = Runtime(device=Device.NPU)


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Stand-in for runtimes: NPUs draw each box too large by `error` rows."""
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))
    asked: list[Runtime] = []

    class Drawing:
        error = 0

        def __init__(self, source, runtime):
            asked.append(runtime)
            self.config, self.runtime = source.config, runtime
            self.info = info_of(source, runtime.backend, runtime.device)

        def encode(self, model_input):
            return model_input[None]

        def decode(self, image_embedding, boxes, points=None):
            logits = np.full((len(boxes), 64, 64), -1.0)
            wrong = Drawing.error if self.runtime.device is Device.NPU else 0
            logits[:, 10 : 30 + wrong, 10:30] = 1
            return logits

    monkeypatch.setattr(BackendEntry, "make", lambda self, *given: Drawing(*given))
    Drawing.asked = asked
    return Drawing


@pytest.fixture(scope="module")
def source():
    return resolve_model("demo")


def test_a_device_that_agrees_is_tried_once(made, source):
    assert load(source, ON_NPU).info.device == "npu"
    assert [runtime.device for runtime in made.asked] == ["npu", "cpu"]
    load(source, ON_NPU)
    assert [runtime.device for runtime in made.asked] == ["npu", "cpu", "npu"]


def test_a_device_that_errs_is_refused_and_stays_refused(made, source, tmp_path):
    made.error = 1
    for _ in range(2):
        with pytest.raises(UnsupportedBackend, match="'npu' gives other masks") as told:
            load(source, ON_NPU)
        assert "DSC is 0.976" in str(told.value)  # 20 and 21 rows
    assert len(made.asked) == 3
    (kept,) = (tmp_path / "devices").iterdir()
    assert str(kept) in str(told.value)
    made.error = 0  # a new driver
    kept.unlink()
    load(source, ON_NPU)


def test_the_cpu_is_not_held_against_itself(made, source, tmp_path):
    load(source, Runtime(device=Device.CPU))
    assert len(made.asked) == 1
    assert not (tmp_path / "devices").exists()


def test_less_precision_is_no_fault_of_the_device(made, source):
    load(source, replace(ON_NPU, precision=Precision.BF16))
    asked = [(runtime.device, runtime.precision) for runtime in made.asked]
    assert asked == [("npu", "bf16"), ("npu", "fp32"), ("cpu", "fp32")]


def test_devices_that_are_not_here_are_told_with_those_that_are(monkeypatch):
    here = staticmethod(lambda: (Device.CPU,))
    monkeypatch.setattr(OpenVINOBackend, "devices_here", here)
    monkeypatch.setattr(TorchBackend, "devices_here", here)
    for backend, device in (("openvino", "npu"), ("torch", "cuda"), ("torch", "mps")):
        complaint = f"{backend} finds no device '{device}' here, only cpu"
        with pytest.raises(UnsupportedBackend, match=complaint):
            load_backend("demo", backend, device=device)


def test_every_backend_has_the_cpu():
    for backend in (BackendName.OPENVINO, BackendName.TORCH):
        assert Device.CPU in backend.entry.devices_here()
        assert Precision.FP32 in backend.entry.floats(Device.CPU)
