import json

import pytest
import torch
from safetensors.torch import load, save

from napari_qmedsam.checkpoints.packed.granularity import CHANNEL
from napari_qmedsam.checkpoints.packed.storage import from_tensors, to_tensors
from napari_qmedsam.errors import BadCheckpoint, UnsupportedQuantization
from napari_qmedsam.quantization import QuantizedTensor, quantize_weight
from napari_qmedsam.quantization.settings import ScaleFormat

SETTINGS = [
    {"method": "rtn"},
    {"method": "comq", "granularity": "layer"},
    {"method": "comq", "granularity": "group:5"},
    {"granularity": "group:5", "permutation": "rows"},
    {"granularity": "group:64", "permutation": "rows"},
    {"permutation": "elements"},
]


def quantized(bit_width=3, **values) -> QuantizedTensor:
    generator = torch.Generator().manual_seed(bit_width)
    weight = torch.randn(6, 13, generator=generator)
    inputs = torch.randn(40, 13, generator=generator)
    gram = inputs.T @ inputs
    return quantize_weight(weight, gram, bit_width=bit_width, **values).tensor


@pytest.mark.parametrize("values", SETTINGS)
@pytest.mark.parametrize("bit_width", [1, 2, 3, 4, 5, 8])
def test_a_file_gives_back_the_same_bits(values, bit_width):
    tensor = quantized(bit_width, **values)
    tensors, entry = to_tensors("w", tensor)
    again = from_tensors("w", load(save(tensors)), json.loads(json.dumps(entry)))
    assert torch.equal(again.codes, tensor.codes)
    assert torch.equal(again.scale, tensor.scale)
    assert torch.equal(again.dequantize(), tensor.dequantize())
    assert again.effective_bits == tensor.effective_bits
    assert torch.equal(again.row_order, tensor.row_order)


@pytest.mark.parametrize("values", SETTINGS)
def test_effective_bits_are_the_bytes_of_the_tensors(values):
    tensor = quantized(**values)
    tensors, _ = to_tensors("w", tensor)
    size = sum(part.numel() * part.element_size() for part in tensors.values())
    assert tensor.stored_bytes == size
    assert tensor.effective_bits == 8 * size / (6 * 13)


def test_effective_bits_by_hand():
    # 8 outputs, 16 inputs, 2 bits: 32 bytes of codes, 8 float16 scales, zero
    # points -2 and -1 in one bit each: 32 + 16 + 1 bytes for 128 weights.
    tensor = QuantizedTensor(
        levels=torch.zeros(8, 16, dtype=torch.uint8),
        scale=torch.ones(8),
        zero_point=torch.tensor([-2, -1] * 4, dtype=torch.int32),
        bit_width=2,
        granularity=CHANNEL,
        scale_format=ScaleFormat.FLOAT16,
    )
    assert tensor.effective_bits == 8 * (32 + 16 + 1) / 128


def test_rows_in_their_order_make_plain_groups():
    tensor = quantized(4, granularity="group:5", permutation="rows")
    order = tensor.row_order[0]
    assert sorted(order.tolist()) == list(range(13))
    ordered = tensor.dequantize()[:, order] / tensor.codes[:, order]
    for k, part in enumerate(ordered.split(5, dim=1)):
        expected = tensor.scale[:, k : k + 1].expand_as(part)
        torch.testing.assert_close(
            part, expected.where(~part.isnan(), part), equal_nan=True
        )


def damage(tensors, entry, what):
    if what == "codes short":
        tensors["w.codes"] = tensors["w.codes"][:-1]
    elif what == "codes missing":
        del tensors["w.codes"]
    elif what == "scales not finite":
        tensors["w.scales"][0] = float("nan")
    elif what == "scales of another size":
        tensors["w.scales"] = tensors["w.scales"][:-1]
    elif what == "index out of range":
        tensors["w.unit_index"][0] = 0xFF
    elif what == "bit-width":
        entry["bit_width"] = 9
    elif what == "shape":
        entry["shape"] = [6, "13"]
    elif what == "groups":
        entry["groups"] = 5
    elif what == "granularity":
        entry["granularity"] = "tensor"
    elif what == "zero points":
        entry["zero_point_bits"] = 40
    elif what == "header":
        del entry["permutation"]


@pytest.mark.parametrize(
    "what",
    [
        "codes short",
        "codes missing",
        "scales not finite",
        "scales of another size",
        "index out of range",
        "bit-width",
        "shape",
        "groups",
        "granularity",
        "zero points",
        "header",
    ],
)
def test_damage_is_one_clear_error(what):
    tensors, entry = to_tensors("w", quantized(3, granularity="group:5"))
    damage(tensors, entry, what)
    with pytest.raises(BadCheckpoint, match="'w'"):
        from_tensors("w", tensors, entry)


def test_levels_beyond_the_bit_width_are_refused():
    with pytest.raises(UnsupportedQuantization, match="Level 4 does not fit 2 bits"):
        QuantizedTensor(
            levels=torch.full((2, 3), 4, dtype=torch.uint8),
            scale=torch.ones(2),
            zero_point=torch.zeros(2, dtype=torch.int32),
            bit_width=2,
            granularity=CHANNEL,
        )
