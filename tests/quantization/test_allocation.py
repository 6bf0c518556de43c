import copy

import pytest
import torch

from napari_qmedsam.datasets.calibration import from_phantoms
from napari_qmedsam.errors import UnsupportedQuantization
from napari_qmedsam.models import build_model
from napari_qmedsam.quantization.allocation import (
    CANDIDATES,
    LayerChoice,
    allocate,
    recipe_for_budget,
)
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.quantization.whole_model import quantize_model


def choice(name, weights, harm):
    return LayerChoice(
        name,
        weights,
        {width: weights * width // 8 for width in CANDIDATES},
        {width: harm / 4**width for width in CANDIDATES},
    )


def test_bits_go_where_they_help_most():
    widths = allocate([choice("loud", 800, 100.0), choice("quiet", 800, 0.001)], 1000)
    assert widths["loud"] > widths["quiet"]
    assert 100 * sum(widths.values()) <= 1000


def test_more_budget_never_means_more_harm():
    choices = [choice(f"layer {i}", 80 * (i + 1), 10.0 / (i + 1)) for i in range(6)]
    least = sum(c.stored_bytes[2] for c in choices)
    harms = []
    for budget in range(least, 4 * least, least // 3):
        widths = allocate(choices, budget)
        assert sum(c.stored_bytes[widths[c.name]] for c in choices) <= budget
        harms.append(sum(c.harm[widths[c.name]] for c in choices))
    assert harms == sorted(harms, reverse=True)


def test_a_budget_below_two_bits_is_refused():
    with pytest.raises(UnsupportedQuantization, match="too small"):
        allocate([choice("layer", 800, 1.0)], 100)


def test_the_model_meets_its_budget_and_stays_as_it_was(tiny_config):
    torch.manual_seed(0)
    model = build_model("tiny")
    before = copy.deepcopy(model.state_dict())
    calibration = from_phantoms(tiny_config, 2)
    settings = QuantizationSettings.of(method="comq")
    recipe = recipe_for_budget(model, settings, calibration, average_bits=6.0)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    result = quantize_model(model, recipe, calibration)
    assert result.effective_bits <= 6.0
    assert len({t.bit_width for t in result.weights.values()}) > 1
    uniform = recipe.model_copy(update={"overrides": ()})
    total = quantize_model(model, uniform, calibration).stored_bytes
    recipe = recipe_for_budget(model, settings, calibration, total_bytes=total)
    assert quantize_model(model, recipe, calibration).stored_bytes <= total


def test_one_budget_is_asked_for(tiny_config):
    model, settings = build_model("tiny"), QuantizationSettings.of()
    with pytest.raises(UnsupportedQuantization, match="one budget"):
        recipe_for_budget(model, settings, from_phantoms(tiny_config, 1))
