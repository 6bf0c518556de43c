import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_qmedsam.quantization import quantize_weight

REFERENCE = Path(__file__).parents[1] / "data" / "comq_reference.npz"

UNITS = [
    {"method": "comq", "granularity": "layer"},
    {"method": "comq", "granularity": "channel"},
    {"method": "comq", "granularity": "group:3"},
    {"granularity": "group:3", "permutation": "rows"},
    {"permutation": "elements"},
    {"granularity": "group:3", "permutation": "elements"},
]

ORDERS = ["natural", "descending", "greedy"]


def true_objective(weight, inputs, result):
    return float(((inputs @ (weight - result.dequantize().double()).T) ** 2).sum())


@pytest.mark.parametrize("bit_width", [2, 3, 4])
def test_codes_and_scales_are_those_of_the_printed_equations(
    comq_on_inputs, layer, bit_width
):
    weight, inputs = layer(out=9, m=20, seed=bit_width)
    codes, scale, objectives = comq_on_inputs(inputs, weight.T, bit_width, 3, 0.8)
    result = quantize_weight(
        weight,
        inputs.T @ inputs,
        method="comq",
        bit_width=bit_width,
        shrinkage=0.8,
        order="natural",
        scale_format="float32",
        block_size=8,
    )
    assert torch.equal(result.codes.T.double(), codes)
    torch.testing.assert_close(result.scales.double(), scale, rtol=1e-6, atol=0)
    assert result.objective == pytest.approx(objectives, rel=1e-5)


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("bits", ["2", "2_s065", "3", "4", "8"])
def test_against_the_authors_codes(name, bits):
    """Fixed scales: the same codes; at 8 bits 0.2 % may differ by rounding."""
    bit_width, shrinkage = int(bits[0]), 0.65 if "s065" in bits else 1.0
    with np.load(REFERENCE, allow_pickle=False) as stored:
        weight = torch.from_numpy(stored[f"{name}_W"])
        inputs = torch.from_numpy(stored[f"{name}_X"]).double()
        prefix = f"{name}_w{bits}"
        gram = inputs.T @ inputs
        common = {"bit_width": bit_width, "shrinkage": shrinkage}
        rtn = quantize_weight(
            weight, gram, method="rtn", scale_format="float32", **common
        )
        assert np.array_equal(rtn.tensor.levels, stored[f"{prefix}_rtn_codes"])
        assert rtn.report.relative_error == pytest.approx(
            float(stored[f"{prefix}_rtn_err"]), rel=1e-4
        )
        expected = shrinkage * stored[f"{prefix}_delta"]
        np.testing.assert_allclose(rtn.scales, expected, rtol=2e-7)
        for order, ours in (("cyclic", "natural"), ("greedy", "greedy")):
            for sweeps in (1, 3):
                key = f"{prefix}_{order}_k{sweeps}"
                error = float(stored[f"{key}_err"])
                run = {"method": "comq", "order": ours, "sweeps": sweeps, **common}
                fixed = quantize_weight(
                    weight, gram, update_scales=False, scale_format="float32", **run
                )
                differing = fixed.tensor.levels.numpy() != stored[f"{key}_codes"]
                assert differing.mean() <= (0.002 if bit_width == 8 else 0)
                assert fixed.report.relative_error == pytest.approx(error, rel=1e-3)
                fitted = quantize_weight(weight, gram, **run)
                assert fitted.report.relative_error <= error
                searched = quantize_weight(weight, gram, **(run | {"shrinkage": None}))
                assert searched.report.relative_error <= error


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    units=st.sampled_from(UNITS),
    order=st.sampled_from(ORDERS),
    bit_width=st.integers(1, 8),
    rows=st.integers(1, 30),
    scale_format=st.sampled_from(["float16", "float32"]),
)
def test_objective_never_rises(seed, units, order, bit_width, rows, scale_format):
    """Nor is it ever above that of RTN, and it is the true one."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 11, generator=generator, dtype=torch.float64) ** 3
    inputs = torch.randn(rows, 11, generator=generator, dtype=torch.float64)
    inputs = inputs * torch.logspace(-3, 1, 11)[torch.randperm(11, generator=generator)]
    result = quantize_weight(
        weight,
        inputs.T @ inputs,
        bit_width=bit_width,
        order=order,
        sweeps=4,
        scale_format=scale_format,
        **units,
    )
    objective = result.objective
    assert len(objective) == 4
    slack = 1e-10 * result.report.output_energy  # rounding of the sums
    assert objective[-1] <= result.report.rtn_objective
    for before, after in itertools.pairwise(objective):
        assert after <= before
    assert true_objective(weight, inputs, result) == pytest.approx(
        objective[-1], rel=1e-4, abs=1e2 * slack
    )


@pytest.mark.parametrize("units", UNITS)
def test_each_sweep_is_the_continuation_of_fewer(layer, units):
    weight, inputs = layer(out=6, m=13)
    gram = inputs.T @ inputs
    longest = quantize_weight(weight, gram, bit_width=3, sweeps=4, **units)
    for sweeps in (1, 2, 3):
        shorter = quantize_weight(weight, gram, bit_width=3, sweeps=sweeps, **units)
        assert shorter.objective == pytest.approx(longest.objective[:sweeps])


def test_float32_in_large_layers_finds_what_float64_finds(layer, monkeypatch):
    weight, inputs = layer(out=40, m=50)
    gram = inputs.T @ inputs
    exact = quantize_weight(weight, gram, method="comq", bit_width=4)
    monkeypatch.setattr("napari_qmedsam.quantization.layer.DOUBLE_WORK", 0)
    fast = quantize_weight(weight, gram, method="comq", bit_width=4)
    assert fast.objective[-1] == pytest.approx(exact.objective[-1], rel=0.02)
    assert true_objective(weight, inputs, fast) == pytest.approx(
        fast.objective[-1], rel=1e-4
    )


@pytest.mark.parametrize("block_size", [1, 7, 64])
def test_blocks_do_not_change_the_result(layer, block_size):
    weight, inputs = layer(out=6, m=20)
    gram = inputs.T @ inputs
    one = quantize_weight(weight, gram, method="comq", block_size=20)
    other = quantize_weight(weight, gram, method="comq", block_size=block_size)
    assert torch.equal(one.codes, other.codes)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("units", UNITS)
def test_dead_inputs_stay_at_the_nearest_level(layer, units, order):
    weight, inputs = layer(out=6, m=12)
    inputs[:, [2, 7]] = 0
    result = quantize_weight(
        weight, inputs.T @ inputs, bit_width=3, order=order, **units
    )
    tensor = result.tensor
    scale = result.dequantize() / result.codes  # NaN where the code is 0
    scale = torch.where(scale.isnan(), tensor._expanded(tensor.scale), scale)
    zero_point = tensor._expanded(tensor.zero_point)
    nearest = torch.round(weight / scale.double())
    nearest = torch.clamp(nearest, zero_point, zero_point + 7)
    assert torch.equal(result.codes[:, [2, 7]].double(), nearest[:, [2, 7]])


@pytest.mark.parametrize("units", UNITS)
def test_no_input_at_all_leaves_rounding_to_nearest(layer, units):
    weight, _ = layer(out=6, m=12)
    result = quantize_weight(weight, torch.zeros(12, 12), bit_width=3, **units)
    assert result.objective == (0, 0, 0)
    assert result.report.relative_error == 0
    assert torch.isfinite(result.dequantize()).all()


@pytest.mark.parametrize("bit_width", [1, 2, 8])
@pytest.mark.parametrize("method", ["rtn", "comq"])
def test_constant_and_all_zero_channels_are_exact(layer, bit_width, method):
    weight, inputs = layer(out=6, m=12)
    weight[1], weight[4] = 0.25, 0
    result = quantize_weight(
        weight.float(),
        inputs.T @ inputs,
        method=method,
        bit_width=bit_width,
        scale_format="float32",
    )
    quantized = result.dequantize()
    assert torch.equal(quantized[1], torch.full((12,), 0.25))
    assert torch.equal(quantized[4], torch.zeros(12))
    assert result.scales[4] == 1


def test_an_all_zero_layer_is_exact():
    gram = torch.eye(4)
    for units in UNITS:
        result = quantize_weight(torch.zeros(3, 4), gram, **units)
        assert not result.dequantize().any()
        assert result.report.relative_error == 0


def test_depthwise_channels_are_solved_each_on_its_own_inputs():
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(4, 1, 3, 3, generator=generator)
    inputs = torch.randn(4, 50, 9, generator=generator)
    gram = inputs.transpose(1, 2) @ inputs
    together = quantize_weight(weight, gram, method="comq", bit_width=3)
    assert together.codes.shape == weight.shape
    assert together.scales.shape == (4,)
    for c in range(4):
        alone = quantize_weight(
            weight[c].reshape(1, 9), gram[c], method="comq", bit_width=3
        )
        assert torch.equal(together.codes[c].reshape(1, 9), alone.codes)


def test_permuted_rows_beat_groups_as_they_are():
    generator = torch.Generator().manual_seed(6)
    size = torch.exp(1.5 * torch.randn(64, generator=generator))
    weight = torch.randn(32, 64, generator=generator) * size
    inputs = torch.randn(200, 64, generator=generator) / size
    gram = inputs.T @ inputs
    plain = quantize_weight(weight, gram, method="comq", granularity="group:16")
    rows = quantize_weight(weight, gram, granularity="group:16", permutation="rows")
    assert rows.objective[-1] < 0.5 * plain.objective[-1]
    # 4 groups: an index of 2 bits per row.
    extra = rows.effective_bits - plain.effective_bits
    assert extra <= (2 * 64 + 3 * 8 * 32 * 4) / weight.numel()
