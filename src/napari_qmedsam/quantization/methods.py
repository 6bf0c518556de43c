"""The methods that quantize weights after training, and what is known of each.

A new method is a module with a function that takes a
:class:`~napari_qmedsam.quantization.problem.LayerProblem` and returns a `Solution`,
and a member of `Method` with its traits here. Command line, window, settings and the
names of variants follow.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum

from napari_qmedsam.checkpoints.packed.granularity import Permutation

NNCF = "nncf-int8"
"""The method that is not ours: NNCF's, of whole graphs, with its own settings."""


class Method(StrEnum):
    """How codes and scales are found."""

    RTN = "rtn"
    COMQ = "comq"
    PERMUTATION_COMQ = "permutation-comq"
    GPTQ = "gptq"
    GPTQ_COMQ = "gptq-comq"
    HQQ = "hqq"

    @property
    def traits(self) -> "MethodTraits":
        """What is known of the method."""
        return METHODS[self]


class Order(str, Enum):
    """In which order a sweep visits the inputs.

    NATURAL is 0, 1, 2, ...; DESCENDING is by ``‖x_i‖``, one order for all output
    channels; GREEDY is, for each output channel on its own, descending
    ``|w_ij| ‖x_i‖``, and takes several times as long.
    """

    NATURAL = "natural"
    DESCENDING = "descending"
    GREEDY = "greedy"


@dataclass(frozen=True)
class MethodTraits:
    """What is known of a method without running it.

    Parameters
    ----------
    title : str
        As the window says it.
    short : str
        As names of variants have it: columns and layers are narrow.
    solver : str
        Module of this package, and function.
    permutations : tuple of Permutation
        What it can do, the default first.
    orders : tuple of Order
        In which it can visit inputs.
    needs_inputs : bool
        Whether it looks at calibration inputs.
    has_sweeps : bool
        Whether it goes over a layer several times.
    """

    title: str
    short: str
    solver: str
    permutations: tuple[Permutation, ...] = (Permutation.NONE,)
    orders: tuple[Order, ...] = tuple(Order)
    needs_inputs: bool = True
    has_sweeps: bool = True


METHODS = {
    Method.RTN: MethodTraits(
        "RTN",
        "RTN",
        "rtn.quantize_layer",
        (Permutation.NONE, Permutation.ROWS, Permutation.ELEMENTS),
        needs_inputs=False,
        has_sweeps=False,
    ),
    Method.COMQ: MethodTraits("COMQ", "COMQ", "comq.quantize_layer"),
    Method.HQQ: MethodTraits(
        "HQQ", "HQQ", "hqq.quantize_layer", needs_inputs=False, has_sweeps=False
    ),
    Method.GPTQ: MethodTraits(
        "GPTQ",
        "GPTQ",
        "gptq.quantize_layer",
        orders=(Order.NATURAL, Order.DESCENDING),
        has_sweeps=False,
    ),
    Method.GPTQ_COMQ: MethodTraits(
        "GPTQ, then COMQ",
        "G-COMQ",
        "gptq.quantize_then_descend",
        (Permutation.ROWS, Permutation.NONE),
        orders=(Order.NATURAL, Order.DESCENDING),
    ),
    Method.PERMUTATION_COMQ: MethodTraits(
        "Permutation-COMQ",
        "P-COMQ",
        "comq.quantize_layer",
        (Permutation.ROWS, Permutation.ELEMENTS),
    ),
}
"""Every method; of the last one, which is the default, all options make sense."""
