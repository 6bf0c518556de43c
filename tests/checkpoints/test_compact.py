import pytest
import torch
from safetensors.torch import load_file

from napari_qmedsam.checkpoints.arithmetic import Arithmetic
from napari_qmedsam.checkpoints.compact import compact_state, expanded_state
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.checkpoints.state_dicts import read_state
from napari_qmedsam.models import build_model
from napari_qmedsam.models.fake_quantized.model import (
    collect_statistics,
    fake_quantize,
)
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings

pytestmark = pytest.mark.usefixtures("tiny_config")

IMAGE, BOX = torch.rand(1, 3, 64, 64), torch.tensor([[8.0, 8.0, 40.0, 50.0]])


@pytest.fixture(params=[False, True], ids=["per tensor", "per channel"])
def model(request):
    torch.manual_seed(0)
    model = fake_quantize(
        build_model("tiny"), FakeQuantSettings(per_channel=request.param)
    )
    collect_statistics(model, [(IMAGE, BOX)])
    return model


def test_codes_are_integers_and_come_back_as_the_same_codes(model):
    compact = compact_state(model)
    integers = [name for name, value in compact.items() if value.dtype == torch.int8]
    assert len(integers) > 20
    assert all(compact[name].abs().max() == 127 for name in integers)
    before = model(IMAGE, BOX)
    model.load_state_dict(expanded_state(compact))
    again = compact_state(model)
    for name in integers:
        assert torch.equal(again[name], compact[name])
    torch.testing.assert_close(model(IMAGE, BOX), before, rtol=1e-4, atol=1e-4)


def test_a_compact_file_is_smaller_and_loads_as_usual(model, tmp_path):
    whole = save_model(model, tmp_path / "whole.safetensors")
    small = save_model(model, tmp_path / "small.safetensors", compact=True)
    assert small.stat().st_size < whole.stat().st_size
    assert read_state(small).keys() == read_state(whole).keys()
    loaded = resolve_model(str(small)).build()
    torch.testing.assert_close(
        loaded(IMAGE, BOX), model(IMAGE, BOX), rtol=1e-4, atol=1e-4
    )


def test_a_plain_state_dict_stays_as_it_is():
    state = build_model("tiny").state_dict()
    expanded = expanded_state(state)
    assert expanded.keys() == state.keys()
    assert all(expanded[name] is state[name] for name in state)


def test_weights_of_a_float_model_are_rounded_by_output_channel(tmp_path):
    torch.manual_seed(0)
    model = build_model("tiny")
    up = "mask_decoder.output_upscaling.0.weight"  # (in, out, 2, 2)
    with torch.no_grad():
        model.state_dict()[up][:, 1] *= 100  # one large channel spoils no other
        model.state_dict()[up][:, 2] = 0
    plain = save_model(model, tmp_path / "plain.safetensors")
    small = save_model(model, tmp_path / "small.safetensors", compact=True)
    assert load_file(small)[up].dtype == torch.int8
    assert small.stat().st_size < plain.stat().st_size
    source = resolve_model(str(small))
    assert source.arithmetic is Arithmetic.FLOAT
    found, expected = source.build().state_dict(), model.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.endswith(".weight") and value.ndim > 1 and "embed" not in name:
            outputs = 1 if name == up or "upscaling.3" in name else 0
            largest = value.abs().transpose(0, outputs).flatten(1).amax(1)
            error = (found[name] - value).abs().transpose(0, outputs).flatten(1).amax(1)
            assert (error <= largest / 254 * 1.001).all(), name
        elif value.ndim < 2:
            assert torch.equal(found[name], value), name
