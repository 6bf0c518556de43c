"""Weights files of every kind people have, and those they should not have."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_qmedsam.checkpoints.checksum import CHECKSUM_KEY
from napari_qmedsam.checkpoints.header import METADATA_KEY, read_card
from napari_qmedsam.checkpoints.model_state import load_state
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.checkpoints.state_dicts import read_state
from napari_qmedsam.errors import BadCheckpoint
from napari_qmedsam.models import build_model
from napari_qmedsam.models.configuration import DEMO


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return list(first) == list(second) and all(
        torch.equal(first[key], second[key]) for key in first
    )


# Forms of official files ---------------------------------------------------


def plain(state: dict) -> dict:
    return state


def training(state: dict) -> dict:
    return {"model": state, "epoch": 3, "optimizer": {"lr": [0.1]}, "best_loss": 0.5}


def lightning(state: dict) -> dict:
    return {"state_dict": state, "hyper_parameters": {}}


def parallel(state: dict) -> dict:
    return {"model": {f"module.{key}": value for key, value in state.items()}}


def with_rebuilt_tables(state: dict) -> dict:
    tables = {
        "image_encoder.layers.1.blocks.0.attn.ab": torch.zeros(2, 4, 4),
        "image_encoder.layers.1.blocks.0.attn.attention_bias_idxs": torch.zeros(4, 4),
    }
    return {**state, **tables}


@pytest.mark.parametrize(
    "form", [plain, training, lightning, parallel, with_rebuilt_tables]
)
def test_every_published_form_of_file_loads(demo, pth, form):
    path = pth(form(demo.state_dict()))
    assert same(ModelSource(DEMO, path).build(), demo)


def test_half_precision_files_load_as_float32(demo, pth):
    state = {
        k: v.half() if v.is_floating_point() else v
        for k, v in demo.state_dict().items()
    }
    model = ModelSource(DEMO, pth(state)).build()
    assert all(p.dtype is torch.float32 for p in model.parameters())


def test_loaded_models_are_in_eval_mode(demo, pth):
    assert not ModelSource(DEMO, pth(demo.state_dict())).build().training


# Files that do not fit -----------------------------------------------------


def test_missing_unexpected_and_misshaped_tensors_come_in_one_error(demo, pth):
    state = demo.state_dict()
    del state["mask_decoder.iou_token.weight"]
    state["mask_decoder.surplus"] = torch.zeros(1)
    state["mask_decoder.mask_tokens.weight"] = torch.zeros(5, 128)
    with pytest.raises(BadCheckpoint) as raised:
        ModelSource(DEMO, pth(state)).build()
    message = str(raised.value)
    assert "'model.pth' does not fit the model 'demo'" in message
    assert "1 missing (mask_decoder.iou_token.weight)" in message
    assert "1 unexpected (mask_decoder.surplus)" in message
    assert "mask_decoder.mask_tokens.weight (5, 128) instead of (4, 128)" in message


def test_a_long_list_of_tensors_is_cut_short(demo):
    with pytest.raises(BadCheckpoint, match=r"missing \(.* and \d+ more\)") as raised:
        load_state(demo, {}, "empty")
    assert len(str(raised.value)) < 600


def test_a_failed_load_leaves_the_model_as_it_was(demo):
    before = {key: value.clone() for key, value in demo.state_dict().items()}
    state = {key: torch.zeros_like(value) for key, value in before.items()}
    del state["mask_decoder.iou_token.weight"]
    with pytest.raises(BadCheckpoint):
        load_state(demo, state, "half")
    assert all(torch.equal(before[k], v) for k, v in demo.state_dict().items())


@pytest.fixture
def encoder_alone(demo, pth):
    return pth({"model": demo.image_encoder.state_dict()}, "encoder.pth")


def test_an_encoder_alone_is_told_apart(encoder_alone):
    with pytest.raises(BadCheckpoint, match=r"'encoder.pth'.*image encoder alone"):
        resolve_model(str(encoder_alone))


def test_an_encoder_alone_given_as_weights_is_told_apart(encoder_alone):
    with pytest.raises(BadCheckpoint, match=r"missing.*image encoder alone"):
        resolve_model("demo", encoder_alone).build()


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_a_file_cut_short_is_refused(demo, tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".pth":
        torch.save(demo.state_dict(), path)
    else:
        save_model(demo, path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(BadCheckpoint, match="'cut"):
        read_state(path)


@pytest.mark.parametrize("name", ["empty.pth", "empty.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<!doctype html><title>Sign in</title>"])
def test_a_file_without_weights_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match="'empty"):
        resolve_model(str(path))


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"model": {}}])
def test_a_file_that_holds_no_tensors_is_refused(pth, content):
    with pytest.raises(BadCheckpoint, match="holds no"):
        read_state(pth(content))


def test_another_models_file_is_refused_by_its_first_tensor(pth):
    path = pth({"conv1.weight": torch.zeros(2, 2)}, "resnet.pth")
    with pytest.raises(BadCheckpoint, match=r"'resnet.pth'.*family.*'conv1.weight'"):
        resolve_model(str(path))


def test_another_models_safetensors_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"conv1.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(BadCheckpoint, match="'conv1.weight'"):
        resolve_model(str(path))


class Code:
    """What a hostile file would hold: a call that pickle makes on loading."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_file_never_runs(tmp_path, how):
    path, trace = tmp_path / "hostile.pth", tmp_path / "it-ran"
    if how == "torch":
        torch.save({"model": Code(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Code(trace), protocol=2))
    with pytest.raises(BadCheckpoint, match="'hostile.pth'"):
        read_state(path)
    assert not trace.exists()


# Our own files -------------------------------------------------------------


def test_safetensors_keep_weights_and_card(demo, tmp_path):
    card = {"title": "trial", "limits": "research only", "dsc": {"ct": 76.2}}
    path = save_model(demo, tmp_path / "own.safetensors", card)
    written = read_card(path)
    assert len(written.pop(CHECKSUM_KEY)) == 64
    assert written == {**card, "format_version": 1, "architecture": "demo"}
    source = resolve_model(str(path))
    assert source.config == DEMO
    assert source.card["title"] == "trial"
    assert same(source.build(), demo)
    assert [p.name for p in tmp_path.iterdir()] == ["own.safetensors"]


def test_a_file_of_another_architecture_is_told_in_one_line(demo, tmp_path):
    path = save_model(demo, tmp_path / "own.safetensors")
    with pytest.raises(BadCheckpoint, match="of the architecture 'demo'") as error:
        resolve_model("lite_medsam", path).build()
    assert "missing" not in str(error.value)


def test_a_card_from_another_file_cannot_rename_the_architecture(demo, tmp_path):
    card = {"architecture": "lite_medsam", "format_version": 99}
    path = save_model(demo, tmp_path / "own.safetensors", card)
    assert resolve_model(str(path)).config == DEMO


def with_card(path: Path, card: str) -> Path:
    save_file({"a": torch.zeros(1)}, path, metadata={METADATA_KEY: card})
    return path


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (json.dumps({"format_version": 2}), "format version 2.*Update napari-qmedsam"),
        (json.dumps({"format_version": "x"}), "format version x"),
        (json.dumps({"architecture": "medsam3"}), "'medsam3'.*does not know"),
        (json.dumps([1]), "not a JSON object"),
        ("{", "not a readable safetensors file"),
    ],
)
def test_cards_this_release_cannot_read_are_refused(tmp_path, card, message):
    path = with_card(tmp_path / "later.safetensors", card)
    with pytest.raises(BadCheckpoint, match=message):
        resolve_model(str(path))


def test_a_later_format_is_refused_for_a_named_model_too(tmp_path):
    path = with_card(tmp_path / "later.safetensors", '{"format_version": 2}')
    with pytest.raises(BadCheckpoint, match="format version 2"):
        resolve_model("demo", path).build()


def test_safetensors_of_parallel_training_load(demo, tmp_path):
    path = tmp_path / "parallel.safetensors"
    save_file({f"module.{k}": v for k, v in demo.state_dict().items()}, path)
    source = resolve_model(str(path))
    assert source.config == DEMO
    assert same(source.build(), demo)


def test_official_files_have_no_card(pth):
    assert read_card(pth({})) == {}


def test_embedded_demo_weights_are_small_and_carry_their_card():
    source = resolve_model("demo")
    assert source.path.stat().st_size <= 12 * 2**20
    assert source.card["architecture"] == "demo"
    state = load_file(source.path)
    load_state(build_model("demo"), state, "demo")
