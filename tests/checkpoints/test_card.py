"""What a model's card says of the prompts it was trained with."""

import pytest

from napari_qmedsam.checkpoints.card import describe, is_trained_on_boxes_alone
from napari_qmedsam.checkpoints.catalogue import CATALOGUE, LITE_MEDSAM
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.models import build_model


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_only_our_own_default_knows_points_beside_boxes(name):
    alone = name != "qmedsam_lite"
    assert is_trained_on_boxes_alone(name) == alone
    said = describe(name).get("trained_with", "")
    assert ("points make masks worse" in said) == alone


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({"training": {"step": 1}}, True),
        ({"training": {"step": 1, "points": 0.0}}, True),
        ({"training": {"step": 1, "points": 0.3}}, False),
        ({"source": {"file": "lite.pth", "sha256": LITE_MEDSAM.sha256}}, True),
        ({"source": {"file": "mine.pth", "sha256": "0" * 64}}, False),
        ({}, False),
    ],
)
def test_a_file_says_it_itself(tmp_path, card, expected):
    path = save_model(build_model("demo"), tmp_path / "mine.safetensors", card)
    assert is_trained_on_boxes_alone(str(path)) is expected
