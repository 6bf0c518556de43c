"""One quantization from start to file."""

import numpy as np
import pytest
import torch

from napari_qmedsam.cancelling import cancellable
from napari_qmedsam.checkpoints.header import read_card
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.errors import Cancelled, InvalidSettings, UnreadableVolume
from napari_qmedsam.models import build_model
from napari_qmedsam.quantization.job import Budget, QuantizationJob, default_target
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.volumes.volume import Modality, Volume


@pytest.fixture
def source(tiny_config, tmp_path):
    torch.manual_seed(0)
    weights = save_model(build_model("tiny"), tmp_path / "tiny.safetensors")
    return resolve_model(str(weights))


@pytest.fixture
def volume():
    rng = np.random.default_rng(0)
    array = rng.integers(-100, 200, (4, 40, 40)).astype(np.int16)
    return Volume(array, modality=Modality.CT)


def job(source, **values):
    settings = QuantizationSettings.of(method="comq", bit_width=4)
    values.setdefault("calibration", CalibrationPlan(slices=2))
    return QuantizationJob(source, settings, **values)


def test_open_volumes_calibrate(source, volume, tmp_path):
    target = tmp_path / "a.qmedsam.safetensors"
    steps = []
    plan = CalibrationPlan(volumes=[volume], slices=3)
    result = job(source, calibration=plan).run(target, steps.append)
    card = read_card(target)
    assert card["calibration"]["kind"] == "volumes"
    assert card["calibration"]["slices"] == 3
    assert card["effective_bits"] == pytest.approx(result.effective_bits)
    layers = [step.layer for step in steps if step.report is not None]
    assert layers == list(result.reports)


def test_cancelled_job_writes_nothing(source, tmp_path):
    target = tmp_path / "a.qmedsam.safetensors"
    steps = []

    def third_step():
        return len(steps) >= 3

    with cancellable(third_step), pytest.raises(Cancelled):
        job(source).run(target, steps.append)
    assert len(steps) == 3
    assert list(tmp_path.glob("a.*")) == []


def test_cancelling_does_not_wait_for_the_calibration_slices(source, tmp_path):
    asked = []

    def second_time():
        asked.append(True)
        return len(asked) > 1

    plan = CalibrationPlan(slices=1000)
    with cancellable(second_time), pytest.raises(Cancelled, match="calibration slices"):
        job(source, calibration=plan).run(tmp_path / "a.qmedsam.safetensors")
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    with cancellable(lambda: True), pytest.raises(Cancelled, match="calibration im"):
        CalibrationPlan(path=tmp_path).samples(source.config)


def test_quantized_models_are_no_start(source, tmp_path):
    target = tmp_path / "a.qmedsam.safetensors"
    job(source).run(target)
    again = job(resolve_model(str(target)))
    with pytest.raises(InvalidSettings, match="quantized already"):
        again.run(tmp_path / "b.qmedsam.safetensors")


def test_bad_requests_are_refused(source, volume, tmp_path):
    with pytest.raises(InvalidSettings, match="must end in .qmedsam.safetensors"):
        job(source).run(tmp_path / "a.bin")
    with pytest.raises(InvalidSettings, match="not both"):
        CalibrationPlan(volumes=[volume], path=tmp_path)
    with pytest.raises(InvalidSettings, match="1 slice or more"):
        CalibrationPlan(slices=0)
    with pytest.raises(InvalidSettings, match="one number above 0"):
        Budget()
    with pytest.raises(InvalidSettings, match="one number above 0"):
        Budget(megabytes=-1.0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UnreadableVolume, match="is empty"):
        job(source, calibration=CalibrationPlan(path=empty)).run(
            tmp_path / "a.qmedsam.safetensors"
        )


def test_one_calibration_serves_measuring_and_quantizing(source, tmp_path):
    steps = []
    work = job(
        source, calibration=CalibrationPlan(slices=2), budget=Budget(average_bits=4)
    )
    result = work.run(tmp_path / "four.qmedsam.safetensors", steps.append)
    assert [step.layer for step in steps].count("calibration") == 2
    assert sum(step.layer.startswith("measuring") for step in steps) == len(
        result.weights
    )
    assert result.effective_bits <= 4


@pytest.mark.parametrize(
    ("budget", "recipe", "name"),
    [
        (None, "", "lite-comq-4bit"),
        (Budget(average_bits=2.5), "", "lite-comq-2.5bit"),
        (Budget(megabytes=3.2), "", "lite-comq-3.2MB"),
        (None, "mixed", "lite-mixed"),
    ],
)
def test_a_file_is_called_after_what_decides_its_bits(budget, recipe, name):
    settings = QuantizationSettings.of(method="comq")
    target = default_target("x/lite.pth", settings, budget, recipe)
    assert str(target) == f"{name}.qmedsam.safetensors"
