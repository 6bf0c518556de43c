import pytest
import torch
from torch import nn

from napari_qmedsam.models.fake_quantized.quantizers import QuantIdentity
from napari_qmedsam.training.attention_ranges import fit_attention_ranges


class Attention(nn.Module):
    """Its images are the probabilities."""

    def __init__(self):
        super().__init__()
        self.act_attn = QuantIdentity(8, 1)

    def forward(self, images, boxes):
        return self.act_attn(images)


@pytest.fixture
def model():
    model = nn.Sequential(Attention())
    model.forward = lambda images, boxes: model[0](images, boxes)
    model[0].act_attn.act_quant.learned.set(0.5)
    return model


NAME = "0.act_attn.act_quant"


def flat_rows(rows, keys=1024):
    """Probabilities all alike, and one row that looks at one key alone."""
    probabilities = torch.full((rows, keys), 1 / keys)
    probabilities[0] = 0.5 / (keys - 1)
    probabilities[0, 0] = 0.5
    return probabilities


def fitted(model, probabilities):
    fit_attention_ranges(model, [(probabilities, torch.zeros(1, 4))], {NAME})
    return model[0].act_attn.act_quant.learned.value.item()


def test_a_range_is_narrowed_until_flat_rows_keep_their_sum(model):
    # 1 / 1024 is under half a step of 0.5 / 128; the sum of such rows would be 0.
    rows = flat_rows(100)
    assert model(rows, None)[1].sum().item() == 0
    assert fitted(model, rows) < 0.25
    assert model(rows, None)[1].sum().item() == pytest.approx(1, abs=0.3)


def test_a_range_stays_where_rows_are_peaked(model):
    assert fitted(model, torch.tensor([[0.5, 0.5], [0.5, 0.5]])) == 0.5


def test_only_chosen_probabilities_change(model):
    rows = flat_rows(100)
    fit_attention_ranges(model, [(rows, torch.zeros(1, 4))], {"other"})
    assert model[0].act_attn.act_quant.learned.value.item() == 0.5
