"""What OpenVINO really executes: the arithmetic of each product, as compiled."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino

PRODUCTS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
"""Kinds of executed layers that multiply."""

FUSED, ATTENTION = "Subgraph", "matmul"
"""Kind of a layer that was fused of several, and what the name of one says that
multiplies: with AVX-512, an attention is one kernel of queries, keys and values."""

INTEGERS = ("i8", "u8")
"""Types of 8-bit kernels."""


@dataclass(frozen=True)
class ExecutedProducts:
    """Names of the products of a compiled graph, by their arithmetic."""

    int8: tuple[str, ...]
    floating: tuple[str, ...]

    def __str__(self) -> str:
        """Return one line for people."""
        total = len(self.int8) + len(self.floating)
        return f"{len(self.int8)} of {total} products run in int8"


def executed_products(compiled: "openvino.CompiledModel") -> ExecutedProducts:
    """Read the arithmetic of every product of a compiled graph.

    In int8 are those whose runtime precision and whose input are: the plugin names
    the former after the weights where it unpacks them to multiply in float32. An
    attention that was fused into one kernel is two products, of which the second
    is in int8 if the values come in 8 bits as well.
    """
    found: dict[bool, list[str]] = {True: [], False: []}
    for node in compiled.get_runtime_model().get_ops():
        for name, is_int8 in _products_of(node):
            found[is_int8].append(name)
    return ExecutedProducts(tuple(found[True]), tuple(found[False]))


def _products_of(node: "openvino.Node") -> Iterator[tuple[str, bool]]:
    """Yield the name of each product that a node executes, and if it is in int8."""
    info, name = node.get_rt_info(), node.get_friendly_name()
    if "layerType" not in info:
        return
    kind = info["layerType"].astype(str)
    in_integers = info["runtimePrecision"].astype(str) in INTEGERS
    given = [value.get_element_type().get_type_name() for value in node.input_values()]
    if kind in PRODUCTS:
        yield name, in_integers and given[0] in INTEGERS
    elif kind == FUSED and ATTENTION in name.lower():
        matrices = sum(each in INTEGERS for each in given)
        yield f"{name} (scores)", in_integers and matrices >= 2
        yield f"{name} (values)", in_integers and matrices >= 3


def any_int8(graphs: "Iterable[openvino.CompiledModel]") -> bool:
    """Tell whether a product of any of these graphs runs in int8."""
    return any(executed_products(graph).int8 for graph in graphs)
