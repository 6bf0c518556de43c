"""When an object that is tracked from slice to slice counts as ended."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.segmentation.endings import EndReason


@dataclass(frozen=True)
class Appearance:
    """How an object looks on one slice: its mask, and the greys inside it.

    Parameters
    ----------
    mask : ndarray, (Y, X) bool
    grey : float
        Median of the windowed grey values, 0 to 255, inside the mask.
    spread : float
        Median distance of these values from `grey`.
    """

    mask: NDArray[np.bool_]
    grey: float
    spread: float

    @classmethod
    def under(cls, mask: NDArray[np.bool_], image: NDArray[np.uint8]) -> "Appearance":
        """Measure a (Y, X) or (Y, X, 3) slice under a mask."""
        values = image[mask].astype(np.float32)
        if values.size == 0:
            return cls(mask, 0.0, 0.0)
        grey = float(np.median(values))
        return cls(mask, grey, float(np.median(np.abs(values - grey))))

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(self.mask.sum())


@dataclass(frozen=True)
class EarlyStop:
    """When an object counts as ended.

    A model that was shown a box finds something in it on any slice, and greys alone
    tell little where the neighbour has the same. Most objects become small before they
    end; the less the greys speak for them, the larger is too small.

    Parameters
    ----------
    smallest_share : float
        Of the largest area so far; less than this is the end of an object whose greys
        speak neither for nor against it. It is a factor of e lower or higher for greys
        that are wholly its own or wholly those around it.
    least_overlap : float
        With where the object was expected, as a share of the smaller area.
    grey_spreads : float
        How far the grey of masks may move, in spreads of the first slice, before they
        are doubted.
    least_grey : float
        Grey levels of 255 that it may always move.

    Raises
    ------
    InvalidSettings
        If `smallest_share` is not in 0..1.
    """

    smallest_share: float = 0.22
    least_overlap: float = 0.2
    grey_spreads: float = 3.0
    least_grey: float = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.smallest_share < 1:
            raise InvalidSettings(
                f"smallest_share {self.smallest_share} must lie in 0..1."
            )

    def why_ended(
        self,
        mask: NDArray[np.bool_],
        expected: NDArray[np.bool_],
        largest: int,
        support: float,
    ) -> EndReason | None:
        """Return why an object has ended between two neighbouring slices, if it has.

        Parameters
        ----------
        mask : ndarray, (Y, X) bool
            Found on the slice.
        expected : ndarray, (Y, X) bool
            The mask before, moved along with the slice; not empty.
        largest : int
            Pixels of the largest mask so far.
        support : float
            Mean of what greys say where it is expected: 1 for the object, -1 against.
        """
        area = int(np.count_nonzero(mask))
        if area == 0:
            return EndReason.OBJECT_END
        if area < self.smallest_share * np.exp(-support) * largest:
            return EndReason.OTHER_GREY if support < 0 else EndReason.OBJECT_END
        both = np.count_nonzero(mask & expected)
        smaller = min(area, int(np.count_nonzero(expected)))
        return EndReason.MASK_JUMPED if both < self.least_overlap * smaller else None

    def is_other_grey(self, now: Appearance, first: Appearance) -> bool:
        """Tell whether a mask lies on other tissue than where it was drawn."""
        may_move = max(self.grey_spreads * first.spread, self.least_grey)
        return abs(now.grey - first.grey) > may_move
