"""Options that would have no effect are refused before any work; help names all."""

import pytest

from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.models.configuration import CONFIGS
from napari_qmedsam.quantization.methods import METHODS
from napari_qmedsam.runtime import BackendName, Device

EVALUATE = ("evaluate", "--image", "ct.nii.gz", "--labels", "labels.nii.gz")
BOX = ("--box", "1,5,3,21,17")


@pytest.mark.parametrize(
    ("command", "option", "why"),
    [
        (("segment", "ct.nii.gz", *BOX), ("--follow", "mask"), "--box3d"),
        (EVALUATE, ("--follow", "mask"), "--mode volume"),
        (EVALUATE, ("--seed", "1"), "--box-jitter"),
        (
            ("train", "float", "--out", "run", "--start", "demo"),
            ("--teacher", "demo"),
            "mask_distillation",
        ),
        (
            ("train", "float", "--out", "run", "--start", "demo"),
            ("--model", "demo"),
            "that of the weights",
        ),
    ],
)
def test_an_option_without_effect_is_refused(run, command, option, why):
    status, out, error = run(*command, *option)
    assert (status, out) == (2, "")
    assert error.startswith(f"Error: {option[0]} would have no effect: ")
    assert why in error


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (("segment",), [*CATALOGUE, *BackendName, *Device]),
        (("evaluate-modalities",), [*BackendName, *Device]),
        (("quantize",), [*CATALOGUE, *METHODS, "nncf-int8"]),
        (("train", "float"), [*CONFIGS]),
    ],
)
def test_help_names_what_is_registered(run, command, names, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    _, out, _ = run(*command, "--help")
    said = out.replace(",", " ").split()
    assert {str(n) for n in names} <= {word.strip(".:;()") for word in said}
