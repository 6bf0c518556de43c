"""What the numbers of a label volume mean: names, codes and colours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from napari_qmedsam.errors import InvalidSettings

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


PALETTE = (
    "#ff5a5f",
    "#2ec4b6",
    "#ffd23f",
    "#4d9de0",
    "#b07cff",
    "#8ac926",
    "#ff9f1c",
    "#f15bb5",
    "#7fdbff",
    "#d9a066",
    "#c5e86c",
    "#9fa8da",
)
"""Bright enough to be told apart on grey; object 13 starts over."""


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
    colour : tuple of int, optional
        None where a file gives none.

    Raises
    ------
    InvalidSettings
        If the number is below 1, or the colour not three values from 0 to 255.
    """

    number: int
    name: str
    category: Code = TISSUE
    kind: Code = TISSUE
    colour: Colour | None = None

    def __post_init__(self) -> None:
        if self.number < 1:
            raise InvalidSettings(
                f"'{self.name}' has the number {self.number}; labels start at 1."
            )
        colour = self.colour
        if colour is not None and not (
            len(colour) == 3 and all(0 <= value <= 255 for value in colour)
        ):
            raise InvalidSettings(
                f"The colour of '{self.name}' is {colour}, not red, green and blue "
                "from 0 to 255."
            )


def palette_colour(number: int) -> Colour:
    """Return the colour of a label that nobody gave one."""
    return colour_from_hex(PALETTE[(number - 1) % len(PALETTE)])


def as_segments(
    names: Mapping[int, str] | Iterable[Segment] | None,
) -> tuple[Segment, ...]:
    """Return segments, from names by number as well; background is left out."""
    if names is None:
        return ()
    if isinstance(names, Mapping):
        return tuple(Segment(n, name) for n, name in names.items() if n > 0)
    return tuple(names)


def colour_from_fractions(values: Iterable[float]) -> Colour:
    """Return a colour from red, green and blue between 0 and 1, as files have it."""
    red, green, blue = (round(255 * min(max(float(v), 0.0), 1.0)) for v in values)
    return red, green, blue


def colour_from_hex(text: str) -> Colour:
    """Return the colour of ``#ff5a5f``.

    Raises
    ------
    InvalidSettings
        If it is none.
    """
    digits = text.strip().removeprefix("#")
    try:
        if len(digits) != 6:
            raise ValueError
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    except ValueError:
        raise InvalidSettings(
            f"'{text}' is no colour; write red, green and blue like #ff5a5f."
        ) from None
