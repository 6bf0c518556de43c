"""What may be lost; apart from the test, so that commands name defaults at once."""

import math
from dataclasses import dataclass, fields

from napari_qmedsam.errors import InvalidSettings


@dataclass(frozen=True)
class Margins:
    """What may be lost, in points of percent.

    Raises
    ------
    InvalidSettings
        If one is not above 0.
    """

    dsc: float = 1.0
    nsd: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidSettings(
                    f"The margin of the {field.name.upper()} must be above 0 points, "
                    f"but it is {value}."
                )


STANDARD = Margins()
"""A loss that few would see: 1 point of DSC, 2 of NSD."""
