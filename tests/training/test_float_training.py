import os
import signal

import cv2
import numpy as np
import pytest
import torch

from napari_qmedsam.cancelling import cancellable
from napari_qmedsam.errors import BadCheckpoint, InvalidSettings
from napari_qmedsam.models import build_model
from napari_qmedsam.training.float_training import FloatTraining
from napari_qmedsam.training.processes import Processes
from napari_qmedsam.training.settings import TrainingSettings
from napari_qmedsam.training.validation import Validation

FEW = TrainingSettings(
    steps=4,
    samples=2,
    slices_per_step=1,
    prompts=2,
    warmup=2,
    workers=0,
    checkpoint_every=2,
    validation_slices=1,
)
"""Two epochs of two steps."""


pytestmark = pytest.mark.usefixtures("tiny_config")


@pytest.fixture(scope="module")
def kept():
    """Keep what every resumed run is compared with, so that it runs once."""
    return {}


@pytest.fixture
def uninterrupted(kept, tmp_path):
    """Model and running average after four steps in one go."""
    if not kept:
        run = FloatTraining("tiny", tmp_path / "whole", FEW)
        run.run()
        kept["model"], kept["average"] = run.loop.stage.model, run.loop.average
    return kept


def check_equal(run: FloatTraining, expected: dict) -> None:
    models = {"model": run.loop.stage.model, "average": run.loop.average}
    for name, model in models.items():
        state = model.state_dict()
        for key, value in expected[name].state_dict().items():
            assert torch.equal(value, state[key]), f"{name}: {key}"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, uninterrupted, workers):
    settings = FEW.model_copy(update={"workers": workers})
    part = FloatTraining("tiny", tmp_path / "part", settings)
    with cancellable(lambda: part.step == 3):
        part.run()
    resumed = FloatTraining("tiny", tmp_path / "part", settings)
    assert resumed.step == 3
    resumed.run()
    check_equal(resumed, uninterrupted)


def test_data_processes_start_where_opencv_has_run_threads(tmp_path):
    image = np.zeros((2000, 2000), np.float32)
    cv2.setNumThreads(2)
    cv2.GaussianBlur(image, (31, 31), 5)
    settings = FEW.model_copy(update={"workers": 1, "steps": 1})
    FloatTraining("tiny", tmp_path, settings).run()
    assert cv2.getNumThreads() == 2


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path, uninterrupted):
    def die(step, steps, losses):
        if step == 3:
            raise SystemError("killed")

    with pytest.raises(SystemError):
        FloatTraining("tiny", tmp_path / "part", FEW).run(die)
    resumed = FloatTraining("tiny", tmp_path / "part", FEW)
    assert resumed.step == 2
    resumed.run()
    check_equal(resumed, uninterrupted)
    assert not list((tmp_path / "part").glob("*.part"))


def test_ctrl_c_within_a_step_finishes_that_step(tmp_path, uninterrupted, monkeypatch):
    run = FloatTraining("tiny", tmp_path / "part", FEW)
    average = run.loop._update_average

    def press(model):  # weights are new, their average is not yet
        os.kill(os.getpid(), signal.SIGINT)
        average(model)

    monkeypatch.setattr(run.loop, "_update_average", press)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    resumed = FloatTraining("tiny", tmp_path / "part", FEW)
    assert resumed.step == 1
    resumed.run()
    check_equal(resumed, uninterrupted)


def test_ctrl_c_saves_a_whole_step_and_then_stops(tmp_path):
    run = FloatTraining("tiny", tmp_path, FEW)

    def press(step, steps, losses):
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.run(press)
    assert FloatTraining("tiny", tmp_path, FEW).step == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_twice_stops_at_once_and_keeps_the_last_checkpoint(tmp_path):
    run = FloatTraining("tiny", tmp_path, FEW)

    def press_twice(step, steps, losses):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.run(press_twice)
    assert FloatTraining("tiny", tmp_path, FEW).step == 2


def test_the_log_has_a_line_per_checkpoint(tmp_path):
    FloatTraining("tiny", tmp_path, FEW).run()
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == (
        "stage,epoch,step,seconds,dice,focal,dense,rate,dsc,dsc Mixture"
    )
    assert [line.split(",")[1:3] for line in lines[1:]] == [["1", "2"], ["2", "4"]]
    assert (tmp_path / "loss.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_run_is_refused(tmp_path, content):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(BadCheckpoint, match="Cannot go on with the run"):
        FloatTraining("tiny", tmp_path, FEW)


def test_a_run_of_another_model_is_refused(tmp_path):
    FloatTraining("tiny", tmp_path, FEW).run()
    with pytest.raises(BadCheckpoint, match="not of the model 'demo'"):
        FloatTraining("demo", tmp_path, FEW)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 1), ("prompts", 3), ("slices_per_step", 2)]
)
def test_a_run_of_other_samples_is_refused(tmp_path, name, value):
    with cancellable(lambda: True):
        FloatTraining("tiny", tmp_path, FEW).run()
    changed = FEW.model_copy(update={name: value})
    with pytest.raises(InvalidSettings, match=f"{name} .* but {value} is asked for"):
        FloatTraining("tiny", tmp_path, changed)


def test_a_finished_run_can_be_made_longer(tmp_path):
    FloatTraining("tiny", tmp_path, FEW.model_copy(update={"steps": 1})).run()
    longer = FloatTraining("tiny", tmp_path, FEW.model_copy(update={"steps": 2}))
    longer.run()
    assert longer.step == 2


def test_a_finished_run_is_left_as_it_is(tmp_path):
    one = FEW.model_copy(update={"steps": 1})
    FloatTraining("tiny", tmp_path, one).run()
    before = (tmp_path / "last.pt").read_bytes()
    again = FloatTraining("tiny", tmp_path, one)
    again.run(lambda *now: pytest.fail("went on"))
    assert (tmp_path / "last.pt").read_bytes() == before


def test_only_the_best_epoch_is_kept_and_given_out(tmp_path, monkeypatch):
    scores = iter([70.0, 60.0])
    monkeypatch.setattr(
        Validation, "score", lambda *_: {"CT": next(scores), "MR": 10.0}
    )
    run = FloatTraining("tiny", tmp_path, FEW)
    run.run()
    assert run.history.best == {"float": (1, 40.0)}
    assert [path.name for path in (tmp_path / "float").iterdir()] == ["epoch-001.pt"]
    first = torch.load(tmp_path / "float" / "epoch-001.pt", weights_only=True)
    for name, value in run.best().state_dict().items():
        assert torch.equal(value, first[name])


def test_without_validation_the_last_epoch_is_given_out(tmp_path):
    settings = FEW.model_copy(update={"validation_slices": 0})
    run = FloatTraining("tiny", tmp_path, settings)
    run.run()
    last = run.loop.average.state_dict()
    for name, value in run.best().state_dict().items():
        assert torch.equal(value, last[name])


def test_training_starts_from_given_weights(tmp_path):
    torch.manual_seed(5)
    start = build_model("tiny")
    before = start.mask_decoder.mask_tokens.weight.clone()
    settings = FEW.model_copy(update={"learning_rate": 1e-9, "steps": 1})
    run = FloatTraining("tiny", tmp_path, settings, start=start)
    run.run()
    torch.testing.assert_close(run.best().mask_decoder.mask_tokens.weight, before)


def test_a_share_of_the_weights_written_is_that_of_the_start(tmp_path):
    torch.manual_seed(5)
    start = build_model("tiny")
    before = start.mask_decoder.mask_tokens.weight.clone()
    settings = FEW.model_copy(update={"steps": 1, "warmup": 0, "start_share": 0.25})
    run = FloatTraining("tiny", tmp_path, settings, start=start)
    run.run()
    trained = run.loop.average.mask_decoder.mask_tokens.weight
    assert not torch.allclose(trained, before, atol=1e-5)
    expected = 0.75 * trained + 0.25 * before
    torch.testing.assert_close(run.best().mask_decoder.mask_tokens.weight, expected)


def test_a_share_may_be_that_of_other_weights(tmp_path):
    torch.manual_seed(5)
    start, other = build_model("tiny"), build_model("tiny")
    settings = FEW.model_copy(update={"steps": 1, "start_share": 0.25})
    run = FloatTraining("tiny", tmp_path, settings, start=start, blend=other)
    run.run()
    trained = run.loop.average.mask_decoder.mask_tokens.weight
    expected = 0.75 * trained + 0.25 * other.mask_decoder.mask_tokens.weight
    torch.testing.assert_close(run.best().mask_decoder.mask_tokens.weight, expected)
    with pytest.raises(InvalidSettings, match="same architecture"):
        FloatTraining("tiny", tmp_path / "b", settings, blend=build_model("demo"))


@pytest.mark.parametrize("wanted", [None, True, False])
@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_is_used_where_there_are_instructions_for_it(
    tmp_path, monkeypatch, wanted, there
):
    monkeypatch.setattr(Processes, "has_bfloat16", there)
    settings = FEW.model_copy(update={"bfloat16": wanted})
    run = FloatTraining("tiny", tmp_path, settings)
    expected = there if wanted is None else wanted
    assert run.loop.stage.objective.in_bfloat16 is expected
