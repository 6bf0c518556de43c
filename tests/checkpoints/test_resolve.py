"""Finding a model by name, file or tensors."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_qmedsam.checkpoints.header import METADATA_KEY, read_card
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.errors import BadCheckpoint, UnknownModel
from napari_qmedsam.models import build_model
from napari_qmedsam.models.configuration import DEMO, LITE_MEDSAM, MEDSAM_VIT_B


@pytest.mark.parametrize("config", [DEMO, LITE_MEDSAM, MEDSAM_VIT_B])
def test_architecture_is_recognised_from_the_tensors(pth, config):
    with torch.device("meta"):
        state = build_model(config).state_dict()
    names = (
        "image_encoder.patch_embed.seq.0.c.weight",
        "image_encoder.blocks.0.attn.rel_pos_h",
    )
    kept = {k: torch.zeros(v.shape) for k, v in state.items() if k in names}
    assert resolve_model(str(pth(kept))).config is config


def test_weights_may_be_given_for_a_named_model(demo, pth):
    path = pth(demo.state_dict(), "anything.bin")
    source = resolve_model("demo", path)
    assert (source.config, source.path) == (DEMO, path)


@pytest.mark.parametrize("weights", [None, "given"])
def test_unknown_models_are_refused_with_those_there_are(demo, pth, weights):
    given = pth(demo.state_dict()) if weights else None
    with pytest.raises(
        UnknownModel, match=r"'sam3'.*demo, demo-qat, lite_medsam, medsam_vit_b"
    ):
        resolve_model("sam3", given)


def test_weights_that_do_not_exist_are_named():
    with pytest.raises(BadCheckpoint, match=r"no weights file 'gone.pth'"):
        resolve_model("demo", "gone.pth")


def test_small_boxes_are_segmented_as_suits_the_weights(demo, tmp_path):
    """What weights were seen to gain from tiles goes with their files."""
    assert resolve_model("qmedsam_lite").config.tiled_share == 1 / 8
    assert resolve_model("demo").config == DEMO
    made = build_model(replace(DEMO, tiled_share=0.25))
    path = save_model(made, tmp_path / "made.safetensors")
    config = resolve_model(str(path)).config
    assert config == replace(DEMO, tiled_share=0.25)
    again = save_model(resolve_model(str(path)).build(), path, read_card(path))
    assert resolve_model(str(again)).config == config
    # The card of another file says nothing of these weights.
    usual = save_model(demo, tmp_path / "usual.safetensors", read_card(path))
    assert resolve_model(str(usual)).config == DEMO


@pytest.mark.parametrize("share", ["half", -1, 2, None])
def test_a_share_that_is_none_is_refused(demo, tmp_path, share):
    path = save_model(demo, tmp_path / "bad.safetensors")
    card = {**read_card(path), "tiled_share": share}
    save_file(load_file(path), path, {METADATA_KEY: json.dumps(card)})
    with pytest.raises(BadCheckpoint, match="tiled_share"):
        resolve_model(str(path))
