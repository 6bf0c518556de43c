"""train: the command on the card says all that was given."""

import random
import shlex
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.main import get_command

from napari_qmedsam.cli import app, shared, training

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
    assert known.keys() == FUNCTIONS.keys()
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


def test_settled_values_are_told_where_none_is_given():
    asked = {"steps": 7, "seed": 3}
    text = shared.command_line(read("demo", ["--out", "x", "--seed", "5"]), (), asked)
    assert text == "qmedsam train demo --out x --steps 7 --seed 5"
