import itertools

import pytest
import torch

from napari_qmedsam.errors import UnsupportedQuantization
from napari_qmedsam.quantization import quantize_weight
from napari_qmedsam.quantization.gram import damped


def dense_gptq(weight, gram, bit_width, group, rows):
    """One input at a time, inverting what is left of H anew for each.

    `weight` is (out, in). Grids are those of the float weights where the rows are
    reordered, else of the weights as they are when their group is reached.
    """
    out, m = weight.shape
    work, codes = weight.clone(), torch.zeros_like(weight)
    levels = 2**bit_width - 1
    is_natural = rows.tolist() == list(range(m))

    def grid(of, members):
        low = of[:, members].amin(dim=1)
        step = (of[:, members].amax(dim=1) - low) / levels
        return step.float().double(), (low / step).round()

    grids = {}
    for number in range(m):
        i = int(rows[number])
        if i // group not in grids:
            members = list(range(i // group * group, min((i // group + 1) * group, m)))
            grids[i // group] = grid(work if is_natural else weight, members)
        step, z = grids[i // group]
        codes[:, i] = torch.clamp((work[:, i] / step).round(), z, z + levels)
        left = rows[number:]
        inverse = torch.linalg.inv(gram[left][:, left])
        error = (work[:, i] - codes[:, i] * step) / inverse[0, 0]
        work[:, left] -= error[:, None] * inverse[0]
    return codes


@pytest.mark.parametrize("order", ["natural", "descending"])
@pytest.mark.parametrize("granularity", ["channel", "group:8", "group:7"])
@pytest.mark.parametrize("bit_width", [2, 4])
def test_codes_are_those_of_inverting_the_matrix_anew(
    layer, order, granularity, bit_width
):
    weight, inputs = layer(out=6, m=24, seed=bit_width)
    gram = damped(inputs.T @ inputs, 0.01)
    rows = torch.arange(24)
    if order == "descending":
        rows = gram.diagonal().argsort(descending=True)
    group = 24 if granularity == "channel" else int(granularity.split(":")[1])
    expected = dense_gptq(weight, gram, bit_width, group, rows)
    result = quantize_weight(
        weight,
        gram,
        method="gptq",
        bit_width=bit_width,
        granularity=granularity,
        order=order,
        scale_format="float32",
        block_size=16,
    )
    assert torch.equal(result.codes.double(), expected)


def test_it_does_better_than_rounding_on_the_inputs(layer):
    weight, inputs = layer(out=32, m=48)
    for granularity in ("channel", "group:16"):
        report = quantize_weight(
            weight,
            inputs.T @ inputs,
            method="gptq",
            bit_width=3,
            granularity=granularity,
        ).report
        assert report.objective[-1] < 0.7 * report.rtn_objective


def test_dead_inputs_keep_their_nearest_code(layer):
    weight, inputs = layer(out=5, m=12)
    inputs[:, 3] = 0
    gram = inputs.T @ inputs
    result = quantize_weight(weight, gram, method="gptq", bit_width=4)
    rounded = quantize_weight(weight, gram, method="rtn", bit_width=4)
    assert torch.equal(result.codes[:, 3], rounded.codes[:, 3])


def test_fewer_rows_than_inputs_are_enough(layer):
    weight, inputs = layer(out=5, m=40, rows=10)
    result = quantize_weight(weight, inputs.T @ inputs, method="gptq", bit_width=4)
    assert result.report.objective[-1] < result.report.rtn_objective


def test_grouped_convolutions_have_matrices_of_their_own(layer):
    weight, inputs = layer(out=4, m=9)
    _, others = layer(out=4, m=9, seed=1)
    grams = torch.stack([inputs.T @ inputs, others.T @ others])
    together = quantize_weight(weight, grams, method="gptq", bit_width=3)
    for part in (0, 1):
        rows = slice(2 * part, 2 * part + 2)
        alone = quantize_weight(weight[rows], grams[part], method="gptq", bit_width=3)
        assert torch.equal(together.codes[rows], alone.codes)


def test_an_order_of_each_channel_is_refused():
    with pytest.raises(UnsupportedQuantization, match="greedy.*goes with.*comq"):
        quantize_weight(torch.ones(2, 2), torch.eye(2), method="gptq", order="greedy")


UNITS = [
    {"permutation": "rows", "granularity": "group:8"},
    {"permutation": "none", "granularity": "group:8"},
    {"permutation": "none", "granularity": "channel"},
]


@pytest.mark.parametrize("order", ["natural", "descending"])
@pytest.mark.parametrize("units", UNITS)
def test_sweeps_from_its_codes_never_do_worse_than_it(layer, units, order):
    weight, inputs = layer(out=24, m=64, seed=3)
    gram = damped(inputs.T @ inputs, 0.01)
    common = {"bit_width": 3, "order": order, "scale_format": "float32", **units}
    both = quantize_weight(weight, gram, method="gptq-comq", **common)
    for before, after in itertools.pairwise(both.objective):
        assert after <= before
    error = inputs @ (weight - both.dequantize().double()).T
    assert both.objective[-1] >= float(error.square().sum())  # damping apart
    if units["permutation"] == "none":
        alone = quantize_weight(weight, gram, method="gptq", **common)
        assert both.objective[-1] < alone.objective[-1]
