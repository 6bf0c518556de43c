"""A quantized weight as tensors of a file, and back, with every check.

For the weight called `name` a file holds

====================  =====================================================
``name.codes``        codes less their unit's zero point, packed, row-major
                      in the shape of the weight
``name.scales``       float16 or float32, one per unit
``name.zero_points``  less the smallest, packed; missing where all are equal
``name.unit_index``   packed; missing where position tells the unit
====================  =====================================================

and its header a small mapping with what is needed to read them. How numbers are
packed: :mod:`~napari_qmedsam.checkpoints.packed.packing`.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from napari_qmedsam.checkpoints.packed.granularity import Granularity, Permutation
from napari_qmedsam.checkpoints.packed.packing import bits_for, pack, unpack
from napari_qmedsam.checkpoints.packed.scale_format import ScaleFormat, float16_exponent
from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor
from napari_qmedsam.errors import BadCheckpoint, UnsupportedQuantization

PARTS = ("codes", "scales", "zero_points", "unit_index")
"""Endings of the tensor names of one weight."""


def to_tensors(
    name: str, tensor: QuantizedTensor
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors a file holds for a weight, and its header entry.

    Their bytes add up to `tensor.stored_bytes`. The header entry is plain JSON.
    """
    half = tensor.scale_format is ScaleFormat.FLOAT16
    exponent = float16_exponent(tensor.scale) if half else 0
    scales = tensor.scale * 2.0**exponent
    smallest = int(tensor.zero_point.min())
    tensors = {
        f"{name}.codes": pack(tensor.levels, tensor.bit_width),
        f"{name}.scales": scales.half() if half else tensor.scale,
    }
    if tensor.zero_point_bits:
        relative = tensor.zero_point - smallest
        tensors[f"{name}.zero_points"] = pack(relative, tensor.zero_point_bits)
    if tensor.unit_index is not None and tensor.index_bits:
        tensors[f"{name}.unit_index"] = pack(tensor.unit_index, tensor.index_bits)
    entry = {
        "shape": list(tensor.shape),
        "bit_width": tensor.bit_width,
        "granularity": str(tensor.granularity),
        "permutation": tensor.permutation.value,
        "groups": tensor.groups,
        "scale_exponent": exponent,
        "smallest_zero_point": smallest,
        "zero_point_bits": tensor.zero_point_bits,
    }
    return tensors, entry


def from_tensors(
    name: str, tensors: Mapping[str, Tensor], entry: Mapping[str, Any]
) -> QuantizedTensor:
    """Return the weight called `name` from a file's tensors; bit-exact.

    Raises
    ------
    BadCheckpoint
        If a tensor or header value is missing, of the wrong kind, or outside
        its range.
    """
    try:
        return _read(name, tensors, entry)
    except (UnsupportedQuantization, BadCheckpoint) as error:
        raise BadCheckpoint(f"Quantized weight '{name}': {error}") from error
    except KeyError as error:
        raise BadCheckpoint(
            f"Quantized weight '{name}' lacks {error}. The file is damaged or not "
            "one of ours."
        ) from error
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise BadCheckpoint(
            f"The header of quantized weight '{name}' cannot be read: {error}."
        ) from error


def _read(
    name: str, tensors: Mapping[str, Tensor], entry: Mapping[str, Any]
) -> QuantizedTensor:
    shape = tuple(_whole(size, "shape") for size in entry["shape"])
    if len(shape) < 2 or min(shape) < 1:
        raise BadCheckpoint(f"a weight cannot have shape {shape}.")
    bit_width = _whole(entry["bit_width"], "bit_width")
    if not 1 <= bit_width <= 8:
        raise BadCheckpoint(f"bit-width {bit_width} is outside 1 to 8.")
    granularity = Granularity.parse(entry["granularity"])
    permutation = Permutation(entry["permutation"])
    groups = _whole(entry["groups"], "groups")
    if groups < 1 or shape[0] % groups:
        raise BadCheckpoint(f"{shape[0]} outputs do not divide into {groups} groups.")
    levels = unpack(tensors[f"{name}.codes"], bit_width, math.prod(shape))

    scales = tensors[f"{name}.scales"]
    if scales.dtype not in (torch.float16, torch.float32):
        raise BadCheckpoint(f"scales must be float16 or float32, not {scales.dtype}.")
    half = scales.dtype == torch.float16
    exponent = _whole(entry["scale_exponent"], "scale_exponent")
    scale = scales.float() * 2.0**-exponent

    zero_point = torch.full_like(
        scale,
        _whole(entry["smallest_zero_point"], "smallest_zero_point"),
        dtype=torch.int32,
    )
    bits = _whole(entry["zero_point_bits"], "zero_point_bits")
    if bits:
        relative = unpack(tensors[f"{name}.zero_points"], bits, scale.numel())
        zero_point = zero_point + relative.to(torch.int32).reshape(scale.shape)

    index = None
    if permutation is not Permutation.NONE:
        out, m = shape[0], math.prod(shape[1:])
        rows = permutation is Permutation.ROWS
        index_shape = (groups, m) if rows else (out, m)
        index = torch.zeros(index_shape, dtype=torch.int32)
        index_bits = bits_for((scale.shape[-1] if rows else scale.numel()) - 1)
        if index_bits:
            packed = tensors[f"{name}.unit_index"]
            entries = unpack(packed, index_bits, index.numel())
            index = entries.to(torch.int32).reshape(index_shape)
    return QuantizedTensor(
        levels=levels.reshape(shape),
        scale=scale,
        zero_point=zero_point,
        bit_width=bit_width,
        granularity=granularity,
        permutation=permutation,
        unit_index=index,
        groups=groups,
        scale_format=ScaleFormat.FLOAT16 if half else ScaleFormat.FLOAT32,
    )


def _whole(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadCheckpoint(f"{what} must be a whole number, not {value!r}.")
    return value
