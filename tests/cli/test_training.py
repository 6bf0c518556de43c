"""train: models and runs, and a command on the card that says all that was given."""

import json
import os
import random
import shlex
import signal
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from typer.main import get_command

from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.cli import app, shared, training
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.models import build_model
from napari_qmedsam.training.settings import (
    QATSettings,
    TrainingSettings,
    load_settings,
)

FUNCTIONS = {
    "float": training.train_float,
    "qat": training.train_qat,
    "demo": training.train_demo,
}
"""Every way to train, by name."""

PLACES = {"out", "export"}
"""Options that do not change what is trained."""


def words(name, option, rng) -> list[str]:
    """Return an option as it may be typed, with a value of its kind."""
    kinds = get_args(get_type_hints(FUNCTIONS[name])[option.name]) or (bool,)
    if option.is_flag:
        return [option.opts[0]]
    if int in kinds:
        return [option.opts[0], str(rng.randint(1, 99))]
    return [option.opts[0], rng.choice(["a b/it's.yaml", "plain", "ä?*"])]


def read(name: str, typed: list[str]):
    """Return the context that a command runs in."""
    root = get_command(app)
    outer = root.make_context("/bin/any", ["train", name, *typed])
    group = root.commands["train"]
    inner = group.make_context("train", [name, *typed], parent=outer)
    return group.commands[name].make_context(name, [*typed], parent=inner)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("seed", range(20))
def test_the_command_can_be_read_back(name, seed):
    rng = random.Random(seed)
    known = get_command(training.app).commands
    assert known.keys() - {"settings", "pseudo-label"} == FUNCTIONS.keys()
    options = [p for p in known[name].params if p.name != "out"]
    chosen = rng.sample(options, rng.randint(0, len(options)))
    typed = [word for option in chosen for word in words(name, option, rng)]
    given = read(name, ["--out", "run", *typed])
    written = shlex.split(shared.command_line(given, PLACES))
    assert written[:3] == ["qmedsam", "train", name]
    again = read(name, ["--out", "elsewhere", *written[3:]])
    for key in given.params.keys() - PLACES:
        before, after = given.params[key], again.params[key]
        # Cards say no folders.
        expected = before.name if isinstance(before, Path) else before
        assert (after.name if isinstance(after, Path) else after) == expected, key


@pytest.mark.parametrize("name", ["float", "qat"])
def test_options_say_of_a_setting_what_the_setting_says(name):
    kind = {"float": TrainingSettings, "qat": QATSettings}[name]
    options = {p.name: p for p in get_command(training.app).commands[name].params}
    both = options.keys() & kind.model_fields.keys()
    assert {"samples", "seed", "workers", "threads"} <= both
    for setting in both:
        field, option = kind.model_fields[setting], options[setting]
        assert field.description.startswith(option.help.rstrip("."))
        least = option.min
        with pytest.raises(InvalidSettings, match=setting):
            load_settings(kind, None, {setting: least - 1})
        assert getattr(load_settings(kind, None, {setting: least}), setting) == least


def test_settings_are_printed_for_a_file_of_ones_own(run, tmp_path):
    status, out, _ = run("train", "settings", "float")
    assert status == 0
    (tmp_path / "mine.yaml").write_text(out)
    assert load_settings(TrainingSettings, tmp_path / "mine.yaml") == TrainingSettings()


def test_settled_values_are_told_where_none_is_given():
    asked = {"steps": 7, "seed": 3}
    text = shared.command_line(read("demo", ["--out", "x", "--seed", "5"]), (), asked)
    assert text == "qmedsam train demo --out x --steps 7 --seed 5"


BOX = ("--box", "2,5,3,21,17")

TRAIN = ("train", "demo", "--out")


def test_train_makes_a_model_and_goes_on_where_it_stopped(
    run, tiny_config, scan, monkeypatch, tmp_path
):
    from napari_qmedsam.models.configuration import CONFIGS

    monkeypatch.setitem(CONFIGS, "demo", tiny_config)
    few = "warmup: 1\nslices_per_step: 1\nsamples: 1\nvalidation_slices: 1\n"
    (tmp_path / "few.yaml").write_text(f"steps: 2\n{few}")
    arguments = (*TRAIN, "run", "--workers", "0")
    status, out, err = run(*arguments, "--config", "few.yaml")
    assert status == 0, err
    assert out == f"Weights: {Path('run/demo.safetensors')}\n"
    assert os.stat("run/demo.safetensors").st_mode & 0o777 == (
        os.stat("few.yaml").st_mode & 0o777
    )
    card = json.loads(run("info", "run/demo.safetensors", "--json")[1])
    assert card["training"]["step"] == 2
    assert "not for clinical use" in " ".join(card["limits"].split())
    (tmp_path / "few.yaml").write_text(f"steps: 3\n{few}")
    status, _, err = run(
        *arguments, "--config", "few.yaml", "--export", "w.safetensors"
    )
    assert status == 0, err
    assert (
        json.loads(run("info", "w.safetensors", "--json")[1])["training"]["step"] == 3
    )
    assert len(Path("run/log.csv").read_text().splitlines()) == 4
    status, _, err = run("segment", "ct.nii.gz", *BOX, "--model", "w.safetensors")
    assert status == 0, err
    status, _, err = run(*arguments, "--config", "few.yaml", "--seed", "7")
    assert status == 2
    assert "started with seed 0, but 7 is asked for" in err


def test_training_goes_on_from_weights_on_a_folder(run, tiny_config, tmp_path):
    import torch

    torch.manual_seed(0)
    save_model(build_model("tiny"), tmp_path / "start.safetensors")
    for name in "ab":
        imgs = np.zeros((2, 40, 40), np.uint8)
        imgs[:, 8:30, 10:30] = 200
        (tmp_path / "data" / "CT").mkdir(parents=True, exist_ok=True)
        np.savez(
            tmp_path / "data" / "CT" / f"{name}.npz",
            imgs=imgs,
            gts=(imgs > 0).astype(np.uint8),
        )
    (tmp_path / "few.yaml").write_text("slices_per_step: 2\nworkers: 0\nwarmup: 0\n")
    arguments = ("train", "float", "--out", "run", "--config", "few.yaml")
    status, out, err = run(
        *arguments, "--data", "data", "--start", "start.safetensors", "--steps", "2"
    )
    assert status == 0, err
    assert out == f"Weights: {Path('run/tiny.safetensors')}\n"
    card = json.loads(run("info", "run/tiny.safetensors", "--json")[1])
    assert card["training"]["data"] == "a data folder with 2 CT slices"
    assert card["training"]["start"] == "start.safetensors"
    assert card["command"] == (
        "qmedsam train float --data data --start start.safetensors --config few.yaml "
        "--steps 2 --seed 0"
    )
    assert "CT" in Path("run/log.csv").read_text().splitlines()[0]


def test_qat_writes_a_model_for_each_stage_and_scores_them_by_modality(
    run, tiny_config, tmp_path
):
    import torch

    torch.manual_seed(0)
    save_model(build_model("tiny"), tmp_path / "start.safetensors")
    (tmp_path / "few.yaml").write_text(
        "samples: 1\nslices_per_step: [3, 3, 3]\nprompts: 2\nworkers: 0\n"
        "warmup_epochs: 0\nannealing_epochs: 1\ncalibration_steps: 1\n"
        "validation_slices: 1\n"
    )
    arguments = ("train", "qat", "--out", "run", "--model", "start.safetensors")
    status, out, err = run(*arguments, "--config", "few.yaml")
    assert status == 0, err
    assert out == f"Weights: {Path('run/tiny-qat.safetensors')}\n"
    card = json.loads(run("info", "run/tiny-qat.safetensors", "--json")[1])
    assert card["training"]["stage"] == "stage-3"
    assert card["command"] == (
        "qmedsam train qat --data phantoms --model start.safetensors --config few.yaml "
        "--seed 0"
    )
    status, out, err = run(
        "evaluate-modalities", "--data", "phantoms", "--cases", "1", "--backend",
        "torch", "--model", "Stage 1:=run/stage-1.safetensors", "--model",
        "Stage 3:=run/tiny-qat.safetensors", "--out", "scores",
    )  # fmt: skip
    assert status == 0, err
    lines = Path("scores/modalities.csv").read_text().splitlines()
    assert lines[0].split(",")[:2] == ["modality", "Stage 1: DSC %"]
    assert [line.split(",")[0] for line in lines[1:]] == [
        "CT",
        "MR",
        "Mosaic",
        "Average",
    ]
    assert len(Path("scores/cases.csv").read_text().splitlines()) == 7


def test_ctrl_c_in_training_says_that_the_run_is_kept(run, tiny_config, monkeypatch):
    from napari_qmedsam.models.configuration import CONFIGS
    from napari_qmedsam.training.loop import TrainingLoop

    monkeypatch.setitem(CONFIGS, "demo", tiny_config)
    step = TrainingLoop._step

    def pressed(self, batch):
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(TrainingLoop, "_step", pressed)
    status, out, err = run(*TRAIN, "run", "--workers", "0")
    assert (status, out) == (130, "")
    assert err == "The run is kept in 'run'; the same command goes on.\nStopped.\n"
    assert {path.name for path in Path("run").iterdir()} == {"last.pt", "log.csv"}
