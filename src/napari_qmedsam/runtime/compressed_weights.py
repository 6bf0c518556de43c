"""Quantized weights as compressed constants of an OpenVINO graph.

A float constant that feeds a matrix product becomes
``Constant(u2|u4|u8) - zero point, times scale``: OpenVINO's CPU plugin
recognises the pattern and keeps the weight compressed in memory. Rows that were
permuted cost one Gather of the activations in front.

Weights that the plugin would unpack at compile time anyway (convolutions,
permuted elements, odd sizes) stay float constants: right answers, no memory
saved. :class:`CompressionReport` counts both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_qmedsam.checkpoints.packed.granularity import GranularityKind, Permutation

if TYPE_CHECKING:
    import openvino

    from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor

SMALLEST_GROUP = 4
"""Smaller groups are unpacked by the plugin at compile time."""


@dataclass(frozen=True)
class CompressionReport:
    """Names of the weights that run compressed, and of those that do not."""

    compressed: tuple[str, ...] = ()
    unpacked: tuple[str, ...] = ()


def compress_weights(
    graph: "openvino.Model", weights: "Mapping[str, QuantizedTensor]"
) -> CompressionReport:
    """Replace float weights of matrix products by compressed ones, in place.

    Parameters
    ----------
    graph : openvino.Model
        Converted from a model that holds the dequantized weights.
    weights : mapping of QuantizedTensor
        By the friendly name of the constant.
    """
    compressed: list[str] = []
    unpacked: list[str] = []
    for node in graph.get_ops():
        tensor = weights.get(node.get_friendly_name())
        if tensor is None or node.get_type_name() != "Constant":
            continue
        products = [
            target.get_node()
            for target in node.output(0).get_target_inputs()
            if target.get_node().get_type_name() == "MatMul" and target.get_index() == 1
        ]
        done = len(products) == len(node.output(0).get_target_inputs()) > 0
        done = done and list(node.get_output_shape(0)) == list(tensor.shape)
        done = done and _replace(products, tensor)
        (compressed if done else unpacked).append(node.get_friendly_name())
    graph.validate_nodes_and_infer_types()
    return CompressionReport(tuple(compressed), tuple(unpacked))


def storage_bits(bit_width: int) -> int:
    """Return the width OpenVINO keeps a code in: 2, 4 or 8."""
    return next(width for width in (2, 4, 8) if bit_width <= width)


def can_compress(tensor: "QuantizedTensor") -> bool:
    """Tell whether OpenVINO keeps this weight compressed, and gets it right.

    Rows of codes that do not end on a byte give wrong numbers without an
    error, so they are refused here.
    """
    if len(tensor.shape) != 2 or tensor.permutation is Permutation.ELEMENTS:
        return False
    out, inputs = tensor.shape
    bits, group = storage_bits(tensor.bit_width), _group_size(tensor)
    zero_point = -tensor.zero_point
    return (
        out > 1
        and group >= SMALLEST_GROUP
        and inputs % group == 0
        and (group * bits) % 8 == 0
        and int(zero_point.min()) >= 0
        and int(zero_point.max()) < 2**bits
    )


def _group_size(tensor: "QuantizedTensor") -> int:
    inputs = tensor.shape[1]
    if tensor.granularity.kind is GranularityKind.GROUP:
        return min(tensor.granularity.group_size, inputs)
    return inputs


def _replace(products: list, tensor: "QuantizedTensor") -> bool:
    from openvino import Type
    from openvino import opset13 as op

    transposed = all(p.get_attributes()["transpose_b"] for p in products)
    if not (transposed and can_compress(tensor)):
        return False
    out, inputs = tensor.shape
    bits, group = storage_bits(tensor.bit_width), _group_size(tensor)
    order = tensor.row_order[0].numpy()
    groups = inputs // group
    scale = tensor.scale.numpy().reshape(-1)
    zero_point = (-tensor.zero_point).numpy().reshape(-1).astype(np.uint8)
    if scale.size == 1:  # one for the layer
        scale, zero_point = np.repeat(scale, out), np.repeat(zero_point, out)
    kind = {2: Type.u2, 4: Type.u4, 8: Type.u8}[bits]
    # Per channel the plugin wants two dimensions, in groups three.
    grouped = [out, inputs] if groups == 1 else [out, groups, group]
    per_unit = [*grouped[:-1], 1]
    levels = tensor.levels.numpy()[:, order]

    def constant(values: np.ndarray, shape: list[int]) -> "openvino.Node":
        packed = op.constant(np.ascontiguousarray(values).reshape(shape), dtype=kind)
        return op.convert(packed, "f32")

    weight = op.subtract(constant(levels, grouped), constant(zero_point, per_unit))
    weight = op.multiply(
        weight, op.constant(scale.astype(np.float32).reshape(per_unit))
    )
    if groups > 1:
        weight = op.reshape(weight, op.constant(np.array([out, inputs])), False)
    permuted = not np.array_equal(order, np.arange(inputs))
    for product in products:
        product.input(1).replace_source_output(weight.output(0))
        if permuted:
            source = product.input_value(0)
            # A transposition before the product may have been folded into it.
            axis = -2 if product.get_attributes()["transpose_a"] else -1
            gathered = op.gather(
                source, op.constant(order.astype(np.int32)), op.constant(np.int32(axis))
            )
            product.input(0).replace_source_output(gathered.output(0))
    return True
