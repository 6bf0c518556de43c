"""What the numbers of a label volume mean."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A term of a coding scheme, such as SNOMED CT.

    Parameters
    ----------
    value, scheme, meaning : str
        ``Code("10200004", "SCT", "Liver")``.
    """

    value: str
    scheme: str
    meaning: str


TISSUE = Code("85756007", "SCT", "Tissue")
"""Category and type of a segment that nothing more is known of."""


@dataclass(frozen=True)
class Segment:
    """One class of a label volume.

    Parameters
    ----------
    number : int
        Its value in the labels.
    name : str
    category, kind : Code
        Property category and type, as DICOM has them.
    """

    number: int
    name: str
    category: Code = TISSUE
    kind: Code = TISSUE
