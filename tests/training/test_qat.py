import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from napari_qmedsam.cancelling import cancellable
from napari_qmedsam.datasets.dataset import open_data
from napari_qmedsam.errors import BadCheckpoint, InvalidSettings
from napari_qmedsam.models import build_model
from napari_qmedsam.models.fake_quantized.model import quantizers
from napari_qmedsam.models.fake_quantized.statistics import ATTENTION
from napari_qmedsam.training.qat import STAGES, QuantizationAwareTraining
from napari_qmedsam.training.settings import QATSettings

FEW = QATSettings(
    samples=1,
    slices_per_step=(1, 1, 1),
    prompts=2,
    warmup_epochs=1,
    annealing_epochs=1,
    calibration_steps=2,
    validation_slices=1,
    checkpoint_every=1,
    workers=0,
)
"""Two epochs of three steps for each stage."""

STEPS = 2 * (3 + 3 + 3)

SHORT = FEW.model_copy(update={"samples": 2, "warmup_epochs": 0, "learning_rate": 1e-4})
"""One epoch for each stage, of six slices."""

pytestmark = pytest.mark.usefixtures("tiny_config")


def new_run(folder, settings=FEW, **options):
    torch.manual_seed(0)
    return QuantizationAwareTraining(
        build_model("tiny"), folder, settings, open_data("phantoms", 0, 64), **options
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Keep what every other run is compared with, so that it runs once."""
    return {"folder": tmp_path_factory.mktemp("whole")}


@pytest.fixture
def whole(kept):
    """A run of all stages in one go."""
    if "run" not in kept:
        kept["run"] = new_run(kept["folder"])
        assert kept["run"].run()
    return kept["run"]


def check_equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_stages_train_encoder_then_decoder_then_everything(whole):
    float_state = whole.start.state_dict()
    first, second, third = (whole.best(stage) for stage in STAGES)

    def changed(model, other, part):
        return any(
            not torch.equal(value, other[name])
            for name, value in model.state_dict().items()
            if name.startswith(part) and name in other and "running" not in name
        )

    assert changed(first, float_state, "image_encoder")
    assert not changed(first, float_state, "mask_decoder")
    assert not changed(first, float_state, "prompt_encoder")
    assert not changed(second, first.state_dict(), "image_encoder")
    assert changed(second, float_state, "mask_decoder")
    assert not changed(second, float_state, "prompt_encoder")
    assert changed(third, second.state_dict(), "image_encoder")
    assert changed(third, second.state_dict(), "mask_decoder")


def test_batch_norm_statistics_stay_those_of_the_float_model(whole):
    before = whole.start.state_dict()
    for name, value in whole.best().state_dict().items():
        if "running_" in name:
            assert torch.equal(value, before[name])


def test_every_scale_is_learned(whole):
    first, last = whole.best(STAGES[0]), whole.best()
    known = dict(quantizers(first))
    assert known
    assert all(name.startswith("image_encoder") for name, _ in quantizers(first))
    assert any(
        not torch.equal(known[name].learned.value, item.learned.value)
        for name, item in quantizers(last)
        if name in known
    )


def test_the_decoder_can_end_with_tighter_ranges(tmp_path):
    still = SHORT.model_copy(update={"samples": 1, "learning_rate": 1e-9})
    plain = new_run(tmp_path / "plain", still)
    tight = new_run(tmp_path / "tight", still.model_copy(update={"decoder_range": 0.5}))
    assert plain.run()
    assert tight.run()
    ranges = dict(quantizers(tight.best()))
    for name, quantizer in quantizers(plain.best()):
        halved = name.startswith("mask_decoder") and not name.endswith(ATTENTION)
        expected = quantizer.scale() * (0.5 if halved else 1)
        assert ranges[name].scale() == pytest.approx(expected, rel=1e-4), name


def test_the_log_tells_of_every_epoch_and_the_best_is_chosen(whole):
    with (whole.folder.path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["stage", "epoch", "step", "seconds"]
    assert {"dice", "focal", "distillation", "rate", "dsc", "dsc MR"} <= set(rows[0])
    for stage in STAGES:
        scored = [r for r in rows if r["stage"] == stage and r["dsc"]]
        assert [row["epoch"] for row in scored] == ["1", "2"]
        best = max(scored, key=lambda row: float(row["dsc"]))
        epoch, score = whole.history.best[stage]
        assert score == pytest.approx(float(best["dsc"]), rel=1e-4)
        assert (whole.folder.path / stage / f"epoch-{epoch:03d}.pt").exists()
    assert not [
        row for row in rows if row["stage"] != STAGES[0] and row["distillation"]
    ]
    assert (whole.folder.path / "loss.png").exists()


KILLED_AFTER = (1, 5, 2, 9)
"""Steps of each run in a row: within and between stages, and before the last."""


def test_a_run_killed_again_and_again_ends_with_the_same_bits(tmp_path, whole):
    assert sum(KILLED_AFTER) == STEPS - 1
    for steps in KILLED_AFTER:
        left = iter(range(steps - 1))

        def die(*now, left=left):
            if next(left, None) is None:
                raise SystemError("killed")

        with pytest.raises(SystemError):
            new_run(tmp_path).run(die)
    resumed = new_run(tmp_path)
    assert resumed.run()
    for stage in STAGES:
        check_equal(resumed.best(stage), whole.best(stage))
    assert resumed.history.best == whole.history.best
    columns = [
        {k: v for k, v in row.items() if k != "seconds"} for row in resumed.history.rows
    ]
    assert columns == [
        {k: v for k, v in row.items() if k != "seconds"} for row in whole.history.rows
    ]


def test_a_run_killed_before_its_checkpoint_repeats_the_epoch(
    tmp_path, whole, monkeypatch
):
    run = new_run(tmp_path)
    write = run.folder.write

    def die(state):
        if state["stage"] == STAGES[1] and state["step"] == 3:
            raise SystemError("killed")
        write(state)

    monkeypatch.setattr(run.folder, "write", die)
    with pytest.raises(SystemError):
        run.run()
    assert run.folder.epoch_path(STAGES[1], 1).exists()
    resumed = new_run(tmp_path)
    assert resumed.run()
    check_equal(resumed.best(), whole.best())


def test_a_finished_run_is_left_as_it_is(whole):
    before = (whole.folder.path / "last.pt").read_bytes()
    again = new_run(whole.folder.path)
    assert again.run(lambda *now: pytest.fail("went on"))
    assert (whole.folder.path / "last.pt").read_bytes() == before
    check_equal(again.best(), whole.best())


def test_a_cancelled_run_says_so_and_goes_on(tmp_path):
    for step in (1, 2):
        run = new_run(tmp_path)
        with cancellable(lambda: True):
            assert not run.run()
        assert run.folder.read("tiny", FEW)["step"] == step


def test_the_teacher_must_embed_alike(tmp_path):
    with pytest.raises(InvalidSettings, match="teacher 'demo' embeds a slice as"):
        new_run(tmp_path, teacher=build_model("demo"))


def test_a_float_run_is_not_gone_on_with(tmp_path):
    from napari_qmedsam.training.float_training import FloatTraining
    from napari_qmedsam.training.settings import TrainingSettings

    settings = TrainingSettings(
        steps=1, samples=2, prompts=2, slices_per_step=1, workers=0
    )
    FloatTraining("tiny", tmp_path, settings).run()
    with pytest.raises((BadCheckpoint, InvalidSettings)):
        new_run(tmp_path)


SCRIPT = """
import sys
import torch
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from napari_qmedsam.models.configuration import CONFIGS
from tiny_model import TINY
CONFIGS["tiny"] = TINY
import test_qat
from napari_qmedsam.training.processes import leave_processes
torch.set_num_threads(1)
run = test_qat.new_run(Path(sys.argv[1]), test_qat.SHORT)
assert run.processes.count == 2
run.run()
leave_processes()
"""


def test_two_processes_match_one_with_the_doubled_batch(tmp_path):
    script = tmp_path / "script.py"
    here = Path(__file__).parent
    script.write_text(SCRIPT)
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            "--nproc-per-node", "2", script, tmp_path / "two", here,
            here.parents[1] / "scripts",
        ],
        check=True,
        timeout=300,
    )  # fmt: skip
    doubled = SHORT.model_copy(update={"slices_per_step": (2, 2, 2)})
    one = new_run(tmp_path / "one", doubled)
    one.run()
    # Later, rounding to codes makes much of the last bit of a sum.
    mine, theirs = (
        torch.load(tmp_path / name / STAGES[0] / "epoch-001.pt", weights_only=True)
        for name in ("one", "two")
    )
    start = one.start.state_dict()
    assert any(not torch.equal(mine[name], start[name]) for name in start)
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-5)
    rows = torch.load(tmp_path / "two" / "last.pt", weights_only=True)["rows"]
    assert [row["stage"] for row in rows] == [r["stage"] for r in one.history.rows]
    for row, expected in zip(rows[:3], one.history.rows[:3], strict=True):
        for name in ("dice", "focal", "distillation"):
            assert row[name] == pytest.approx(expected[name], rel=0.03)
    assert rows[2]["dsc"] == pytest.approx(one.history.rows[2]["dsc"], abs=0.1)
