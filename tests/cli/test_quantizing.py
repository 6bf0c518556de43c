"""quantize: options that would have no effect."""

import pytest

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
