import pytest
import torch

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


def test_other_state_dicts_stay_as_they_are():
    state = build_model("tiny").state_dict()
    assert expanded_state(state).keys() == state.keys()
    assert compact_state(build_model("tiny")).keys() == state.keys()
