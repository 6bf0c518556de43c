import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_qmedsam.quantization.uniform import (
    LARGEST_CODE,
    fit_grid,
    nearest_codes,
)


def rounded(values, bit_width, shrinkage=1.0):
    weight = torch.as_tensor(values, dtype=torch.float64)
    scale, zero_point = fit_grid(weight.min(), weight.max(), bit_width, shrinkage)
    codes = nearest_codes(weight, scale, zero_point, bit_width)
    return scale, zero_point, codes, scale * codes


def test_two_bits_by_hand():
    # δ = (2 + 1) / 3 = 1, z = -1: levels -1, 0, 1, 2.
    scale, zero_point, codes, _ = rounded([-1, -0.4, 0.6, 1.4, 2], 2)
    assert (scale, zero_point) == (1, -1)
    assert codes.tolist() == [-1, 0, 1, 1, 2]


def test_halves_round_to_even_and_the_grid_clamps():
    # δ = 2, min / δ = -1.5 gives z = -2: levels -4, -2, 0, 2, and 3 is cut to 2.
    _, zero_point, codes, quantized = rounded([-3, -1, 1, 3], 2)
    assert zero_point == -2
    assert codes.tolist() == [-2, 0, 0, 1]
    assert quantized.tolist() == [-4, 0, 0, 2]


def test_shrinkage_keeps_the_zero_point_of_the_whole_step():
    scale, zero_point, _, _ = rounded([-1, 2], 2, shrinkage=0.65)
    assert (float(scale), zero_point) == (0.65, -1)


def test_a_unit_on_one_side_of_zero_is_shrunk_about_its_middle():
    _, _, _, quantized = rounded([9.0, 9.4, 10.0], 4, shrinkage=0.5)
    assert (quantized - torch.tensor([9.25, 9.4, 9.75])).abs().max() < 0.05


@pytest.mark.parametrize("value", [0.3, -7.0])
@pytest.mark.parametrize("bit_width", [1, 2, 8])
@pytest.mark.parametrize("shrinkage", [1.0, 0.5])
def test_a_constant_unit_is_exact(value, bit_width, shrinkage):
    *_, quantized = rounded([value] * 3, bit_width, shrinkage)
    assert quantized.tolist() == [value] * 3


def test_an_all_zero_unit_has_scale_one_and_codes_zero():
    scale, zero_point, codes, _ = rounded([0.0, 0.0], 4)
    assert (scale, zero_point) == (1, 0)
    assert codes.tolist() == [0, 0]


@settings(max_examples=200, deadline=None)
@given(
    weight=arrays("f8", 7, elements=st.floats(-1e6, 1e6)),
    bit_width=st.integers(1, 8),
    shrinkage=st.floats(0.05, 1),
)
def test_codes_stay_in_range_and_nothing_is_nan(weight, bit_width, shrinkage):
    scale, zero_point, codes, quantized = rounded(weight, bit_width, shrinkage)
    assert torch.isfinite(quantized).all()
    assert scale > 0
    assert ((codes >= zero_point) & (codes < zero_point + 2**bit_width)).all()
    assert codes.abs().max() <= LARGEST_CODE + 2**bit_width
    if shrinkage == 1:
        # Half a step, one more half where z was rounded.
        error = (quantized - torch.as_tensor(weight)).abs().max()
        assert error <= 1.01 * scale
