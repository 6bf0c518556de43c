import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from napari_qmedsam.errors import CalibrationMismatch, UnsupportedQuantization
from napari_qmedsam.quantization import (
    Method,
    Permutation,
    QuantizationSettings,
    quantize_weight,
)


def test_the_result_is_an_object_and_a_pair(layer):
    weight, inputs = layer(out=6, m=12)
    result = quantize_weight(weight, inputs.T @ inputs, sweeps=2)
    tensor, report = result
    assert result.codes.shape == result.dequantize().shape == (6, 12)
    assert result.codes.dtype == torch.int32
    assert len(result.objective) == 2
    assert result.effective_bits == tensor.effective_bits
    assert torch.equal(result.scales, tensor.scale)
    assert 0 < report.relative_error < 0.1
    assert report.seconds > 0


def test_settings_and_names_lead_to_the_same(layer):
    weight, inputs = layer(out=6, m=12)
    settings = QuantizationSettings.of(method="comq", bit_width=3)
    one = quantize_weight(weight, inputs.T @ inputs, settings)
    other = quantize_weight(weight, inputs.T @ inputs, method="comq", bit_width=3)
    assert torch.equal(one.codes, other.codes)
    with pytest.raises(UnsupportedQuantization, match="not both"):
        quantize_weight(weight, inputs.T @ inputs, settings, sweeps=2)


def test_rtn_needs_no_calibration(layer):
    weight, _ = layer(out=6, m=12)
    result = quantize_weight(weight, method="rtn", bit_width=8)
    error = ((weight - result.dequantize()) ** 2).sum()
    assert result.objective == (pytest.approx(float(error), rel=1e-4),)
    with pytest.raises(CalibrationMismatch, match="needs the Gram matrix"):
        quantize_weight(weight, method="comq")


def test_weight_and_gram_are_left_as_they_were(layer):
    weight, inputs = layer(out=6, m=12)
    inputs[:, 3] = 0
    gram = inputs.T @ inputs
    before = weight.clone(), gram.clone()
    quantize_weight(weight, gram, permutation="elements")
    assert torch.equal(weight, before[0])
    assert torch.equal(gram, before[1])


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"bit_width": 0}, "bit_width"),
        ({"bit_width": 9}, "bit_width"),
        ({"bit_width": "four"}, "bit_width"),
        ({"sweeps": 0}, "sweeps"),
        ({"method": "awq"}, "method"),
        ({"permutation": "columns"}, "permutation"),
        ({"granularity": "row"}, "Granularity 'row'"),
        ({"granularity": "channel"}, "Permuting rows changes nothing"),
        ({"method": "comq", "permutation": "rows"}, "permutes nothing"),
        ({"permutation": "none"}, "needs permutation"),
        ({"shrinkage": 0}, "shrinkage"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_settings_are_one_clear_error(values, match):
    with pytest.raises(UnsupportedQuantization, match=match):
        QuantizationSettings.of(**values)


def test_settings_survive_a_file():
    settings = QuantizationSettings.of(granularity="group:32", order="greedy")
    text = settings.model_dump_json()
    assert QuantizationSettings.model_validate_json(text) == settings
    with pytest.raises(ValidationError):
        settings.bit_width = 2


@pytest.mark.parametrize(
    ("gram", "match"),
    [
        (torch.eye(5), "Expected a Gram matrix of shape"),
        (torch.full((4, 4), float("nan")), "not finite"),
        (torch.triu(torch.ones(4, 4)), "symmetric"),
        (-torch.eye(4), "diagonal"),
    ],
)
def test_a_gram_matrix_that_does_not_fit_is_refused(gram, match):
    with pytest.raises(CalibrationMismatch, match=match):
        quantize_weight(torch.ones(3, 4), gram)


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (torch.ones(4), "Expected a weight"),
        (torch.ones(0, 4), "Expected a weight"),
        (torch.full((3, 4), float("inf")), "not finite"),
    ],
)
def test_a_weight_that_cannot_be_is_refused(weight, match):
    with pytest.raises(UnsupportedQuantization, match=match):
        quantize_weight(weight, torch.eye(4))
    with pytest.raises(UnsupportedQuantization, match="groups"):
        quantize_weight(torch.ones(3, 4), torch.eye(4).expand(2, 4, 4))


def test_the_package_is_light():
    code = (
        "import sys, napari_qmedsam.quantization as q; "
        "assert 'torch' not in sys.modules and 'pydantic' not in sys.modules; "
        "q.Granularity; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("method", Method)
def test_every_method_has_a_solver_and_keeps_what_its_traits_say(method):
    torch.manual_seed(0)
    weight, inputs = torch.randn(8, 64), torch.randn(100, 64)
    traits = method.traits
    gram = inputs.T @ inputs if traits.needs_inputs else None
    for permutation in traits.permutations:
        granularity = None if permutation is Permutation.ROWS else "channel"
        result = quantize_weight(
            weight,
            gram,
            method=method,
            permutation=permutation,
            granularity=granularity,
            sweeps=2,
        )
        assert len(result.objective) == (2 if traits.has_sweeps else 1)
        assert result.tensor.permutation is permutation
    assert QuantizationSettings.of(method=method).permutation is traits.permutations[0]
