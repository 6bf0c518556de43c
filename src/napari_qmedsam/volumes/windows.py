"""Intensity windows: what grey range the viewer shows and the model sees.

A window never changes the volume. The same :class:`Window` sets napari's
contrast limits and the model's input.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidWindow

LARGEST = float(np.finfo(np.float32).max) / 2
"""Intensities are mapped in float32, and the width of a window must fit in it."""


@dataclass(frozen=True)
class Window:
    """Intensity window: HU for CT, raw intensity for everything else."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower) and math.isfinite(self.upper)):
            raise InvalidWindow(
                f"Window {self.lower}, {self.upper} must be two finite numbers."
            )
        if max(abs(self.lower), abs(self.upper)) > LARGEST:
            raise InvalidWindow(
                f"Window {self.lower}, {self.upper} is beyond what float32 holds "
                f"({LARGEST:.2g}). Scale the intensities down first."
            )
        if not self.lower < self.upper:
            raise InvalidWindow(
                f"Window lower {self.lower} must be below upper {self.upper}."
            )

    @classmethod
    def of_level(cls, level: float, width: float) -> "Window":
        """Return the window of a level and a width, as radiologists name them.

        Raises
        ------
        InvalidWindow
            If the width is not above 0.
        """
        if not width > 0:
            raise InvalidWindow(f"The width of a window must be above 0, not {width}.")
        return cls(level - width / 2, level + width / 2)

    @property
    def level(self) -> float:
        """The grey in the middle."""
        return (self.lower + self.upper) / 2

    @property
    def width(self) -> float:
        """From the lower end to the upper one."""
        return self.upper - self.lower

    def to_uint8(self, array: NDArray) -> NDArray[np.uint8]:
        """Clip to the window and map it linearly to 0..255, rounded to nearest.

        Parameters
        ----------
        array : ndarray, any shape
            Intensities. NaN becomes the lower end, infinities the nearer end.

        Returns
        -------
        ndarray of uint8, same shape
        """
        scaled = np.asarray(array, dtype=np.float32) - np.float32(self.lower)
        scaled *= np.float32(255.0 / (self.upper - self.lower))
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        np.clip(scaled, 0.0, 255.0, out=scaled)
        np.rint(scaled, out=scaled)
        return scaled.astype(np.uint8)


CT_PRESETS: dict[str, Window] = {
    "soft-tissue": Window(-160.0, 240.0),
    "lung": Window(-1350.0, 150.0),
    "bone": Window(-450.0, 1050.0),
    "brain": Window(0.0, 80.0),
    "liver": Window(-45.0, 105.0),
    "mediastinum": Window(-125.0, 225.0),
    "angiography": Window(0.0, 600.0),
}
"""Named CT windows in HU; soft-tissue is the one MedSAM was trained with."""

MR_PERCENTILES = (0.5, 99.5)
"""Percentiles of the non-zero voxels that bound the MR window."""


def percentile_window(array: NDArray) -> Window:
    """Window between the 0.5 and 99.5 percentile of the finite non-zero voxels.

    At most about two million voxels, evenly spread, are looked at. An array
    with fewer than two distinct values gets a window of width one, or of the
    next float32 where that is further away. True and False count as 1 and 0.

    Raises
    ------
    InvalidWindow
        If float32 does not hold them.
    """
    flat = np.asarray(array).reshape(-1)
    if flat.dtype == bool:
        flat = flat.view(np.uint8)
    flat = flat[:: max(1, flat.size // 2_000_000)]
    flat = flat[np.isfinite(flat) & (flat != 0)]
    if flat.size == 0:
        return Window(0.0, 1.0)
    lower, upper = (float(v) for v in np.percentile(flat, MR_PERCENTILES))
    if not lower < upper:
        if abs(lower) < LARGEST:
            upper = max(lower + 1.0, float(np.nextafter(np.float32(lower), np.inf)))
        return Window(lower, upper)
    return Window(lower, upper)


def parse_window(text: str) -> Window | None:
    """Return the window a user typed.

    Parameters
    ----------
    text : str
        A preset's name, two numbers ``lower,upper``, or ``auto``.

    Returns
    -------
    Window or None
        None for ``auto``: the volume's default.

    Raises
    ------
    InvalidWindow
        If it is neither.
    """
    name = text.strip().lower()
    if name == "auto":
        return None
    if name in CT_PRESETS:
        return CT_PRESETS[name]
    parts = name.split(",")
    try:
        lower, upper = (float(part) for part in parts)
    except ValueError:
        known = ", ".join(["auto", *CT_PRESETS])
        raise InvalidWindow(
            f"'{text}' is no window: give lower,upper as numbers, or one of {known}."
        ) from None
    return Window(lower, upper)
