"""Processors whose 8-bit kernels overflow, and graphs that cannot make them.

Without VNNI instructions, kernels multiply unsigned 8-bit activations with
signed 8-bit weights and add two products in 16 bits: beyond 32767 the sum is
cut off, and masks go wrong without an error. Weights within 64 codes keep the
sum below that: 2 * 255 * 64 = 32640.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_qmedsam.checkpoints.exported import read_graph
from napari_qmedsam.checkpoints.openvino_import import import_openvino, openvino_core

if TYPE_CHECKING:
    import openvino

SAFE_CODE = 64
"""Largest magnitude of a weight's code that cannot overflow."""

IN_FLOAT = {"LP_TRANSFORMS_MODE": False}
"""What has OpenVINO multiply the integers of a quantized graph in float32."""

INPUTS, OUTPUTS = 64, 32
"""Of the layer that is tried."""


@cache
def processor_overflows() -> bool:
    """Multiply the largest codes in int8 and tell whether the result is wrong."""
    openvino = import_openvino()
    op = openvino.opset13
    image = op.parameter([1, INPUTS], np.float32)

    def bound(value: float) -> Any:
        return op.constant(np.array(value, np.float32))

    limits = [bound(v) for v in (-128, 127, -128, 127)]
    codes = np.full((OUTPUTS, INPUTS), 127, np.int8)
    weight = op.multiply(op.convert(op.constant(codes), np.float32), bound(1.0))
    product = op.matmul(op.fake_quantize(image, *limits, 256), weight, False, True)
    graph = openvino.Model([product], [image])
    compiled = openvino_core().compile_model(
        graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    result = compiled([np.full((1, INPUTS), 127, np.float32)])[0]
    return not np.allclose(result, 127 * 127 * INPUTS)


def would_overflow(graphs: Iterable[Path]) -> bool:
    """Tell whether graphs would be wrong here in int8, and must compute in float32."""
    return processor_overflows() and not all(
        weights_are_safe(read_graph(path)) for path in graphs
    )


def weights_are_safe(graph: "openvino.Model") -> bool:
    """Tell whether all 8-bit weights of a graph keep within 64 codes.

    Depthwise convolutions do not count: they add no two products of a pixel.
    """
    for node in graph.get_ops():
        if node.get_type_name() != "Constant":
            continue
        shape = list(node.get_output_shape(0))
        depthwise = len(shape) == 5 and shape[2] == 1  # (groups, out, in, kh, kw)
        kind = node.get_element_type().get_type_name()
        if kind == "i8" and len(shape) >= 2 and not depthwise:
            codes = node.get_data()
            if codes.min() < -SAFE_CODE or codes.max() > SAFE_CODE:
                return False
    return True
