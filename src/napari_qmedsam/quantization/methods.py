"""The methods that quantize weights after training, and what is known of each.

A new method is a module with a function that takes a
:class:`~napari_qmedsam.quantization.problem.LayerProblem` and returns a `Solution`,
and a member of `Method` with its traits here. Command line, window, settings and the
names of variants follow.
"""

from dataclasses import dataclass
from enum import StrEnum

from napari_qmedsam.checkpoints.packed.granularity import Permutation

NNCF = "nncf-int8"
"""The method that is not ours: NNCF's, of whole graphs, with its own settings."""


class Method(StrEnum):
    """How codes and scales are found."""

    RTN = "rtn"
    COMQ = "comq"
    PERMUTATION_COMQ = "permutation-comq"

    @property
    def traits(self) -> "MethodTraits":
        """What is known of the method."""
        return METHODS[self]


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
    needs_inputs : bool
        Whether it looks at calibration inputs.
    has_sweeps : bool
        Whether it goes over a layer several times.
    """

    title: str
    short: str
    solver: str
    permutations: tuple[Permutation, ...] = (Permutation.NONE,)
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
    Method.PERMUTATION_COMQ: MethodTraits(
        "Permutation-COMQ",
        "P-COMQ",
        "comq.quantize_layer",
        (Permutation.ROWS, Permutation.ELEMENTS),
    ),
}
"""Every method; of the last one, which is the default, all options make sense."""
