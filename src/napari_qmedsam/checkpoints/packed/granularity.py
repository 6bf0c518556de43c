"""Which weights share a scale: granularity and permutation, by name.

No torch here, so that settings, recipes and the command line stay light;
:mod:`~napari_qmedsam.checkpoints.packed.units` does the arithmetic.
"""

from dataclasses import dataclass
from enum import Enum

from napari_qmedsam.errors import UnsupportedQuantization


class Permutation(str, Enum):
    """What is reordered before a layer is cut into quantization units."""

    NONE = "none"
    ROWS = "rows"
    ELEMENTS = "elements"


class GranularityKind(str, Enum):
    """How far one scale reaches."""

    LAYER = "layer"
    CHANNEL = "channel"
    GROUP = "group"


@dataclass(frozen=True)
class Granularity:
    """How far one scale reaches, and the group size where it matters.

    Written ``layer``, ``channel`` or ``group:64``.

    Parameters
    ----------
    kind : GranularityKind
    group_size : int
        Inputs of one output channel that share a scale; 0 unless `kind` is
        GROUP. The last group of a channel may be smaller.

    Raises
    ------
    UnsupportedQuantization
        If a group size is missing, not positive, or given where none belongs.
    """

    kind: GranularityKind
    group_size: int = 0

    def __post_init__(self) -> None:
        if self.kind is GranularityKind.GROUP and self.group_size < 1:
            raise UnsupportedQuantization(
                f"Group size {self.group_size} must be at least 1; write group:64."
            )
        if self.kind is not GranularityKind.GROUP and self.group_size:
            raise UnsupportedQuantization(
                f"Granularity '{self.kind.value}' takes no group size, got "
                f"{self.group_size}."
            )

    @classmethod
    def parse(cls, text: "str | Granularity") -> "Granularity":
        """Return the granularity written as ``layer``, ``channel``, ``group:G``.

        Raises
        ------
        UnsupportedQuantization
            If `text` is none of these.
        """
        if isinstance(text, Granularity):
            return text
        name, colon, size = str(text).partition(":")
        try:
            kind = GranularityKind(name)
            return cls(kind, int(size) if colon else 0)
        except UnsupportedQuantization:
            raise
        except ValueError:
            raise UnsupportedQuantization(
                f"Granularity '{text}' is not known. Use layer, channel or group:G "
                "with G inputs to a scale, such as group:64."
            ) from None

    def __str__(self) -> str:
        """Return the text that :meth:`parse` reads."""
        if self.kind is GranularityKind.GROUP:
            return f"{self.kind.value}:{self.group_size}"
        return self.kind.value


LAYER = Granularity(GranularityKind.LAYER)
"""One scale for a whole weight."""

CHANNEL = Granularity(GranularityKind.CHANNEL)
"""One scale per output channel: COMQ, and the paper's unit size."""


def group(size: int) -> Granularity:
    """Return the granularity of one scale per `size` inputs of a channel."""
    return Granularity(GranularityKind.GROUP, size)


def check_units(granularity: Granularity, permutation: Permutation) -> None:
    """Refuse a permutation that cannot change anything.

    Raises
    ------
    UnsupportedQuantization
    """
    if permutation is Permutation.ROWS and (
        granularity.kind is not GranularityKind.GROUP
    ):
        raise UnsupportedQuantization(
            f"Permuting rows changes nothing at granularity '{granularity}', whose "
            "units hold all rows. Use group:G, or permute elements."
        )
