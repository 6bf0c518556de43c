import pytest
import torch

from napari_qmedsam.quantization import quantize_weight
from napari_qmedsam.quantization.hqq import COUPLING, NORM, shrink


def published_step(row, step, codes, smallest, coupling):
    """W_e and the mean that is the next zero point, with the authors' signs.

    Badri and Shaji's ``W_r = (W_q - z) / s``: their s is one over our step, their z
    our smallest code with the other sign.
    """
    s, w_q, zero = 1 / step, codes - smallest, -smallest
    difference = row - (w_q - zero) / s
    w_e = torch.sign(difference) * torch.relu(
        difference.abs() - difference.abs().pow(NORM - 1) / coupling
    )
    return w_e, (w_q - (row - w_e) * s).mean()


def by_hand(row, bit_width):
    """One unit, all in float64: published steps, and least squares for the step."""
    levels = 2**bit_width - 1
    step = ((row.max() - row.min()) / levels).float().double()
    smallest = (row.min() / step).round()

    def rounded():
        codes = torch.clamp((row / step).round(), smallest, smallest + levels)
        return codes, (row - codes * step).abs().sum()

    codes, least = rounded()
    best, coupling = (codes, step), COUPLING
    for _ in range(20):
        w_e, zero = published_step(row, step, codes, smallest, coupling)
        level, smallest = codes - smallest, (-zero).round()
        moved = level + smallest
        target = (row - w_e)[:, None]
        step = torch.linalg.lstsq(moved[:, None], target).solution[0, 0]
        step = step.float().double()
        codes, error = rounded()
        if error >= least:
            break
        best, least = (codes, step), error
        coupling *= 1.01
    return best


@pytest.mark.parametrize("bit_width", [2, 3, 4])
@pytest.mark.parametrize("size", [0.1, 3.0])
def test_one_unit_by_hand(layer, bit_width, size):
    """Large weights are shrunk, small ones not: then W_e is 0, as the authors' is."""
    weight, _ = layer(out=1, m=40, seed=bit_width)
    row = size * 10 * weight[0]
    codes, step = by_hand(row, bit_width)
    result = quantize_weight(
        row[None], method="hqq", bit_width=bit_width, scale_format="float32"
    )
    assert torch.equal(result.codes[0].double(), codes)
    assert float(result.scales[0]) == pytest.approx(float(step), rel=1e-6)


def test_shrinkage_leaves_large_errors_and_drops_small_ones():
    error = torch.tensor([-2.0, 0.05, 0.0, 1.0], dtype=torch.float64)
    expected = [-(2 - 2**-0.3 / 10), 0.0, 0.0, 0.9]
    assert shrink(error, 10.0).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("granularity", ["layer", "channel", "group:8"])
def test_no_unit_is_worse_than_rounded(layer, granularity):
    weight, _ = layer(out=16, m=32)
    common = {"bit_width": 2, "granularity": granularity}
    found = quantize_weight(weight, method="hqq", **common).dequantize() - weight
    rounded = quantize_weight(weight, method="rtn", **common).dequantize() - weight
    assert found.abs().sum() < 0.95 * rounded.abs().sum()


def test_it_needs_no_inputs_and_takes_constant_and_empty_weights():
    weight = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.3, 0.3]])
    result = quantize_weight(weight, method="hqq", bit_width=3, scale_format="float32")
    torch.testing.assert_close(result.dequantize(), weight)
