import math
import os
import signal

import cv2
import numpy as np
import pytest
import torch

from napari_qmedsam.errors import BadCheckpoint, InvalidSettings
from napari_qmedsam.training.float_training import FloatTraining, learning_rate
from napari_qmedsam.training.losses import dice_loss, focal_loss, prototype_loss
from napari_qmedsam.training.samples import PhantomSamples, collate, make_sample
from napari_qmedsam.training.settings import TrainingSettings, load_settings

FEW = TrainingSettings(
    steps=4, slices_per_step=1, prompts=2, warmup=2, workers=0, checkpoint_every=2
)


pytestmark = pytest.mark.usefixtures("tiny_config")


def test_dice_loss_is_zero_for_the_answer_and_one_for_its_opposite():
    target = torch.zeros(1, 8, 8)
    target[:, 2:6, 2:6] = 1
    logits = (2 * target - 1) * 50
    assert dice_loss(logits, target).item() == pytest.approx(0, abs=1e-5)
    # No overlap of 16 and 48 pixels: 1 - (0 + 1) / (64 + 1).
    assert dice_loss(-logits, target).item() == pytest.approx(1 - 1 / 65, abs=1e-4)


def test_focal_loss_is_divided_by_the_box_area():
    target, logits = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    # 16 pixels of log 2, each weighed by its distance of one half.
    one = focal_loss(logits, target, torch.tensor([1.0])).item()
    assert one == pytest.approx(16 * math.log(2) / 2, rel=1e-5)
    eight = focal_loss(logits, target, torch.tensor([8.0])).item()
    assert eight == pytest.approx(one / 8, rel=1e-5)


def test_prototype_loss_falls_when_features_tell_the_object():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 2:5] = 1
    box = torch.zeros(1, 1, 8, 8)
    box[..., 1:6, 1:6] = 1
    telling = torch.cat([mask, 1 - mask], 1)
    blind = torch.ones(1, 2, 8, 8)
    assert prototype_loss(telling, mask, box) < 0.01
    assert prototype_loss(blind, mask, box).item() == pytest.approx(math.log(2))


def test_learning_rate_warms_up_rests_and_falls():
    settings = TrainingSettings(
        steps=1000, warmup=100, decay_from=0.5, learning_rate=1.0
    )
    assert learning_rate(0, settings) == pytest.approx(0.01)
    assert learning_rate(49, settings) == pytest.approx(0.5)
    assert learning_rate(300, settings) == 1.0
    assert learning_rate(750, settings) == pytest.approx(0.505)
    assert learning_rate(1000, settings) == pytest.approx(0.01)


def test_a_sample_depends_on_seed_and_index_alone():
    first, again = PhantomSamples(3, 64, 10)[7], PhantomSamples(3, 64, 99)[7]
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    other = PhantomSamples(4, 64, 10)[7]
    assert not np.array_equal(first.image, other.image)


def test_boxes_surround_their_objects_within_the_jitter():
    labels = np.zeros((64, 64), np.uint8)
    labels[10:30, 20:50] = 5
    rng = np.random.default_rng(0)
    image = np.zeros((64, 64), np.uint8)
    for _ in range(50):
        sample = make_sample(image, labels, 2, 3, rng)
        assert sample is not None
        assert np.abs(sample.boxes - [20, 10, 49, 29]).max() <= 3 + 2
        assert sample.masks[0][5:15, 10:25].min() == 255
        assert sample.masks[0].astype(int).sum() == 255 * 150


def test_a_slice_without_objects_gives_no_sample():
    blank = np.zeros((64, 64), np.uint8)
    assert make_sample(blank, blank, 2, 0, np.random.default_rng(0)) is None


def test_collate_normalises_each_image():
    batch = collate([PhantomSamples(0, 64, 9, prompts=2)[i] for i in range(3)])
    assert batch.images.shape == (3, 1, 64, 64)
    assert batch.boxes.shape == (6, 4)
    assert batch.masks.shape == (3, 2, 32, 32)
    assert batch.images.amin((1, 2, 3)).tolist() == [0, 0, 0]
    assert batch.images.amax((1, 2, 3)).tolist() == [1, 1, 1]


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
        kept["model"], kept["average"] = run.model, run.average
    return kept


def check_equal(run: FloatTraining, expected: dict) -> None:
    for name in ("model", "average"):
        state = getattr(run, name).state_dict()
        for key, value in expected[name].state_dict().items():
            assert torch.equal(value, state[key]), f"{name}: {key}"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, uninterrupted, workers):
    settings = FEW.model_copy(update={"workers": workers})
    part = FloatTraining("tiny", tmp_path / "part", settings)
    part.run(should_cancel=lambda: part.step == 3)
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
    def die(step, losses):
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
    average = run._update_average

    def press():  # weights are new, their average is not yet
        os.kill(os.getpid(), signal.SIGINT)
        average()

    monkeypatch.setattr(run, "_update_average", press)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    resumed = FloatTraining("tiny", tmp_path / "part", FEW)
    assert resumed.step == 1
    resumed.run()
    check_equal(resumed, uninterrupted)


def test_ctrl_c_saves_a_whole_step_and_then_stops(tmp_path):
    run = FloatTraining("tiny", tmp_path, FEW)

    def press(step, losses):
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.run(press)
    assert FloatTraining("tiny", tmp_path, FEW).step == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_twice_stops_at_once_and_keeps_the_last_checkpoint(tmp_path):
    run = FloatTraining("tiny", tmp_path, FEW)

    def press_twice(step, losses):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.run(press_twice)
    assert FloatTraining("tiny", tmp_path, FEW).step == 2


def test_the_log_has_a_line_per_checkpoint(tmp_path):
    FloatTraining("tiny", tmp_path, FEW).run()
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "step,seconds,dice,focal,rate,dense"
    assert [line.split(",")[0] for line in lines[1:]] == ["2", "4"]


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
    FloatTraining("tiny", tmp_path, FEW).run(should_cancel=lambda: True)
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
    again.run(lambda step, losses: pytest.fail("went on"))
    assert (tmp_path / "last.pt").read_bytes() == before


def test_settings_come_from_file_and_options(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("steps: 50\nseed: 3\n")
    settings = load_settings(path, {"seed": 9, "workers": None})
    assert (settings.steps, settings.seed) == (50, 9)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("stepz: 5", "'stepz'"),
        ("steps: many", "'steps'"),
        ("steps: 0", "'steps'"),
        ("- 1", "must be"),
        ("a: [", "Cannot read settings"),
    ],
)
def test_bad_settings_name_the_culprit(tmp_path, text, complaint):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match=complaint):
        load_settings(path)


def test_settings_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "settings.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSettings, match="Cannot read settings"):
        load_settings(tmp_path / "settings.yaml")


def test_missing_settings_are_refused(tmp_path):
    with pytest.raises(InvalidSettings, match="Cannot read settings"):
        load_settings(tmp_path / "none.yaml")
