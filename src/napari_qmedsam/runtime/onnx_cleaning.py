"""QCDQ graphs exported elsewhere, in a form whose products run in int8.

Brevitas writes weights as integers behind a Clip, one zero point shared by all
tensors, and activations of few bits with a Clip between quantization and its
undoing. The values are right, but OpenVINO then takes floats for most products,
and ONNX Runtime cannot load the file on processors without VNNI. So constants are
clipped here, zero points that are zero are left out or given to each tensor on its
own, and a Clip on codes becomes one on values. What the graph computes stays.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.checkpoints.checksum import file_sha256
from napari_qmedsam.checkpoints.exported import ExportedGraphs
from napari_qmedsam.errors import MissingDependency
from napari_qmedsam.runtime.cache import cache_folder, cache_key, make_once
from napari_qmedsam.runtime.onnx_import import import_onnx

if TYPE_CHECKING:
    import onnx

log = logging.getLogger(__name__)

VERSION = 1
"""Raise it when graphs come out differently, so that old ones are not reused."""


def cleaned_pair(graphs: ExportedGraphs) -> tuple[Path, Path]:
    """Return encoder and decoder; those of quantized graphs cleaned, once.

    Without the package onnx the files are taken as they are.

    Raises
    ------
    UnsupportedBackend
        If the folder has no ONNX graphs.
    """
    pair = graphs.pair(".onnx")
    if not graphs.is_int8:
        return pair
    try:
        onnx = import_onnx()
    except MissingDependency as error:
        log.warning("'%s' may run in float: %s", graphs.folder.name, error)
        return pair
    key = cache_key(*map(file_sha256, pair), VERSION)

    def make(folder: Path) -> None:
        for path in pair:
            graph = onnx.load(path)
            clean(graph)
            onnx.save(graph, folder / path.name)

    folder = cache_folder() / "onnx" / f"{graphs.config.name}-cleaned-{key}"
    make_once(folder, "decoder.onnx", make)
    return folder / pair[0].name, folder / pair[1].name


def clean(model: "onnx.ModelProto") -> int:
    """Clean a graph in place; see the module.

    Returns
    -------
    int
        Number of clips folded or moved.
    """
    work = _Cleaning(model.graph)
    count = sum(work.unclip(node) for node in list(model.graph.node))
    for number, node in enumerate(model.graph.node):
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            work.part_zero_point(node, f"zero_point_{number}")
    return count


class _Cleaning:
    """A graph with its constants and what makes and takes each value."""

    def __init__(self, graph: "onnx.GraphProto") -> None:
        self.graph = graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.made = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t

    def value(self, name: str) -> NDArray | None:
        """Return a constant, followed through Identity; None for other values."""
        from onnx import numpy_helper

        while name in self.made and self.made[name].op_type == "Identity":
            name = self.made[name].input[0]
        found = self.constants.get(name)
        return None if found is None else numpy_helper.to_array(found)

    def add(self, name: str, value: NDArray) -> str:
        """Make a constant."""
        from onnx import numpy_helper

        tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
        self.graph.initializer.append(tensor)
        self.constants[name] = tensor
        return name

    def unclip(self, node: "onnx.NodeProto") -> bool:
        """Fold a Clip of constants, or move one of codes; tell whether it was one."""
        if node.op_type != "Clip" or len(node.input) != 3:
            return False
        low, high = self.value(node.input[1]), self.value(node.input[2])
        if low is None or high is None or low.dtype.kind not in "iu":
            return False
        codes = self.value(node.input[0])
        if codes is not None:
            self.graph.node.remove(node)
            self.made.pop(node.output[0])
            self.add(node.output[0], codes.clip(low, high))
            return True
        quantize = self.made.get(node.input[0])
        if quantize is None or quantize.op_type != "QuantizeLinear":
            return False
        return self._move(node, quantize, low, high)

    def _move(
        self,
        clip: "onnx.NodeProto",
        quantize: "onnx.NodeProto",
        low: NDArray,
        high: NDArray,
    ) -> bool:
        """Clip values instead of their codes; not at all where no code is beyond."""
        from onnx import helper

        scale, zero = (self.value(name) for name in quantize.input[1:3])
        used = [n for n in self.graph.node if quantize.output[0] in n.input]
        if scale is None or zero is None or scale.size != 1 or len(used) != 1:
            return False
        limits = np.iinfo(zero.dtype)
        if low > limits.min or high < limits.max:
            prefix, ends = clip.output[0], []
            for what, code in (("low", low), ("high", high)):
                steps = np.float32(code) - np.float32(zero.item())
                bound = np.float32(scale.item()) * steps
                ends.append(self.add(f"{prefix}_{what}", np.array(bound, np.float32)))
            name = f"{prefix}_values"
            place = list(self.graph.node).index(quantize)
            made = helper.make_node("Clip", [quantize.input[0], *ends], [name])
            self.graph.node.insert(place, made)
            quantize.input[0] = name
        self.graph.node.remove(clip)
        quantize.output[0] = clip.output[0]
        return True

    def part_zero_point(self, node: "onnx.NodeProto", name: str) -> None:
        """Leave a weight's zero point out if it is zero; part all others."""
        if len(node.input) < 3:
            return
        zero = self.value(node.input[2])
        if zero is None:
            return
        is_weight = self.value(node.input[0]) is not None
        if is_weight and node.op_type == "DequantizeLinear" and not zero.any():
            del node.input[2]
        else:
            node.input[2] = self.add(name, zero)
