"""quantize: files that segment, and options that would have no effect."""

import json
import os
import sys
from importlib.util import find_spec

import pytest
from annotated_types import Ge, Le
from typer.main import get_command

from napari_qmedsam.checkpoints.fake_quantized import empty_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.cli import app
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.models import build_model
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.quantization.settings import QuantizationSettings

SETTINGS = {
    "method": "method",
    "bits": "bit_width",
    "granularity": "granularity",
    "permutation": "permutation",
    "sweeps": "sweeps",
}
"""Options that are settings, and which."""

OPTIONS = {
    "--bits": ["3"],
    "--granularity": ["channel"],
    "--permutation": ["rows"],
    "--sweeps": ["2"],
    "--damping": ["0.1"],
    "--sums": ["sums.pt"],
    "--recipe": ["recipe.yaml"],
    "--sequential": [],
    "--float-inputs": [],
    "--budget-mb": ["1"],
    "--avg-bits": ["3"],
    "--show-recipe": [],
    "--method": ["comq"],
    "--calibration": ["phantoms"],
    "--slices": ["2"],
    "--seed": ["1"],
}
"""Options with a value that is right by itself."""

OF_THE_METHOD = ("--bits", "--granularity", "--permutation", "--sweeps", "--damping")

IDLE = [
    *(
        (["--method", "nncf-int8"], name, "its own settings")
        for name in (*OF_THE_METHOD, "--sums", "--recipe", "--sequential")
    ),
    *(
        (["--method", "nncf-int8"], name, "its own settings")
        for name in ("--float-inputs", "--budget-mb", "--avg-bits", "--show-recipe")
    ),
    *(
        (["--recipe", "recipe.yaml"], name, "'recipe.yaml' says that")
        for name in (*OF_THE_METHOD, "--method")
    ),
    *(
        ([budget, "3"], name, "a budget chooses the bits")
        for budget in ("--avg-bits", "--budget-mb")
        for name in ("--bits", "--show-recipe")
    ),
    (["--method", "rtn"], "--sweeps", "rtn makes no sweeps"),
    *(
        (["--method", "rtn"], name, "rtn looks at no inputs")
        for name in ("--calibration", "--slices", "--seed", "--damping", "--sums")
    ),
    (["--method", "rtn"], "--sequential", "rtn looks at no inputs"),
]


def test_options_say_of_a_setting_what_the_setting_says():
    options = {p.name: p for p in get_command(app).commands["quantize"].params}
    for name, setting in SETTINGS.items():
        field, option = QuantizationSettings.model_fields[setting], options[name]
        assert option.default == field.default, name
        limits = {type(limit): limit for limit in field.metadata}
        assert option.min == getattr(limits.get(Ge), "ge", None), name
        assert option.max == getattr(limits.get(Le), "le", None), name
        if name != "method":  # which are listed
            said = field.description
            titled = f"{field.title} {said[0].lower()}{said[1:]}"
            text = option.help.rstrip(".")
            assert said.startswith(text) or titled.startswith(text), name
    assert options["slices"].default == CalibrationPlan.slices


@pytest.mark.parametrize(("before", "option", "why"), IDLE)
def test_an_option_without_effect_is_refused(run, tmp_path, before, option, why):
    (tmp_path / "recipe.yaml").write_text("settings: {method: comq, bit_width: 2}\n")
    status, out, error = run("quantize", *before, option, *OPTIONS[option])
    assert (status, out) == (2, "")
    # A flag has two names and is called by the first.
    name = "--sequential" if option == "--float-inputs" else option
    assert error.startswith(f"Error: {name} would have no effect: ")
    assert why in error


def test_a_default_that_is_not_given_is_not_refused(run, tmp_path):
    (tmp_path / "recipe.yaml").write_text("settings: {method: rtn, bit_width: 2}\n")
    status, out, _ = run("quantize", "--recipe", "recipe.yaml", "--show-recipe")
    assert status == 0
    assert "bit_width: 2" in out


def test_calibration_of_a_recipe_counts_where_an_exception_needs_it(run, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "settings: {method: rtn}\n"
        "overrides: [{layers: 'mask_decoder.*', settings: {method: comq}}]\n"
    )
    asked = ("quantize", "--recipe", "recipe.yaml", "--slices", "2", "--show-recipe")
    assert run(*asked)[0] == 0


BOX = ("--box", "2,5,3,21,17")


def test_quantized_model_segments_like_any_other(run, tiny_config, scan, tmp_path):
    import torch

    from napari_qmedsam.checkpoints.saving import save_model

    torch.manual_seed(0)
    save_model(build_model("tiny"), tmp_path / "tiny.safetensors")
    made = "tiny.qmedsam.safetensors"
    arguments = ("quantize", "--model", "tiny.safetensors", "--slices", "2", "-o", made)
    status, out, err = run(*arguments, "--calibration", "ct.nii.gz", "--json")
    assert status == 0, err
    report = json.loads(out)
    assert report["size_bytes"] == os.path.getsize(made) < report["float_size_bytes"]
    assert 4 < report["effective_bits"] < 9
    assert all(0 <= layer["relative_error"] < 1 for layer in report["layers"])
    status, out, _ = run("info", made, "--json")
    card = json.loads(out)
    assert card["effective_bits"] == pytest.approx(report["effective_bits"], abs=1e-3)
    assert card["recipe"]["settings"]["bit_width"] == 4
    assert card["calibration"]["volumes"] == 1
    status, out, err = run("segment", "ct.nii.gz", *BOX, "--model", made, "--json")
    assert status == 0, err
    assert json.loads(out)["model"] == made
    status, out, err = run(*arguments, "--avg-bits", "6", "--method", "comq")
    assert status == 0, err
    assert json.loads(run("info", made, "--json")[1])["effective_bits"] <= 6


def test_recipe_is_shown_with_its_defaults_and_read_back(run, tmp_path):
    status, out, _ = run("quantize", "--show-recipe", "--bits", "3")
    assert status == 0
    assert "bit_width: 3" in out
    assert "sweeps:" in out
    (tmp_path / "recipe.yaml").write_text(out)
    assert run("quantize", "--recipe", "recipe.yaml", "--show-recipe")[1] == out


@pytest.mark.parametrize(
    "method",
    [
        "comq",
        pytest.param(
            "nncf-int8",
            marks=pytest.mark.skipif(find_spec("nncf") is None, reason="extra nncf"),
        ),
    ],
)
def test_trained_int8_models_are_not_quantized_again(
    run, tiny_config, tmp_path, method
):
    model = empty_model(tiny_config, FakeQuantSettings())
    path = save_model(model, tmp_path / "qat.safetensors")
    output = tmp_path / ("x.qmedsam.safetensors" if method == "comq" else "x")
    arguments = ["--model", path, "--method", method, "--slices", 1, "-o", output]
    status, _, error = run("quantize", *arguments)
    assert status == 2
    assert "already" in error


def test_nncf_makes_a_folder_that_segments_in_int8(
    run, float_file, small_scan, tmp_path
):
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
        *("segment", small_scan, "--box", "0,5,5,30,30", "--model", folder),
        *("-o", labels, "--json"),
    )
    assert status == 0
    report = json.loads(out)
    assert (report["model"], report["precision"]) == ("int8", "int8")
    assert labels.exists()


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
