"""What OpenVINO really executes: the arithmetic of each product, as compiled."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino

PRODUCTS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
"""Kinds of executed layers that multiply."""

INTEGERS = ("i8", "u8")
"""Types of 8-bit kernels."""


@dataclass(frozen=True)
class ExecutedProducts:
    """Names of the products of a compiled graph, by their arithmetic."""

    int8: tuple[str, ...]
    floating: tuple[str, ...]

    @property
    def all_int8(self) -> bool:
        """Whether there is a product and none is floating."""
        return bool(self.int8) and not self.floating

    def __str__(self) -> str:
        """Return one line for people."""
        total = len(self.int8) + len(self.floating)
        return f"{len(self.int8)} of {total} products run in int8"


def executed_products(compiled: "openvino.CompiledModel") -> ExecutedProducts:
    """Read the arithmetic of every product of a compiled graph.

    In int8 are those whose runtime precision and whose input are: the plugin names
    the former after the weights where it unpacks them to multiply in float32.
    """
    found: dict[bool, list[str]] = {True: [], False: []}
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if "layerType" in info and info["layerType"].astype(str) in PRODUCTS:
            precision = info["runtimePrecision"].astype(str)
            given = node.input_value(0).get_element_type().get_type_name()
            is_int8 = precision in INTEGERS and given in INTEGERS
            found[is_int8].append(node.get_friendly_name())
    return ExecutedProducts(tuple(found[True]), tuple(found[False]))


def any_int8(graphs: "Iterable[openvino.CompiledModel]") -> bool:
    """Tell whether a product of any of these graphs runs in int8."""
    return any(executed_products(graph).int8 for graph in graphs)
