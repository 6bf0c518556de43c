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

    A model that was shown a box finds something in it on any slice. So masks
    are compared with the one before, and greys with where the way began: a
    mask that slips off an object changes little by little, its grey does not
    come back.

    Parameters
    ----------
    smallest_share : float
        Of the area on the slice before; less than this is its end.
    largest_growth : float
        Times the area on the slice before; more than this is another object.
    least_overlap : float
        Of the masks of two neighbouring slices, as a share of the smaller one.
    grey_spreads : float
        How far the grey may move, in spreads of the first slice.
    least_grey : float
        Grey levels of 255 that it may always move.

    Raises
    ------
    InvalidSettings
        If `smallest_share` and `largest_growth` do not enclose 1.
    """

    smallest_share: float = 0.2
    largest_growth: float = 3.0
    least_overlap: float = 0.8
    grey_spreads: float = 3.0
    least_grey: float = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.smallest_share < 1 < self.largest_growth:
            raise InvalidSettings(
                f"smallest_share {self.smallest_share} must lie in 0..1, and "
                f"largest_growth {self.largest_growth} above 1."
            )

    def has_ended(
        self, now: Appearance, previous: Appearance, first: Appearance
    ) -> bool:
        """Tell whether an object has ended between two neighbouring slices.

        Parameters
        ----------
        now, previous, first : Appearance
            As for :meth:`why_ended`.
        """
        return self.why_ended(now, previous, first) is not None

    def why_ended(
        self, now: Appearance, previous: Appearance, first: Appearance
    ) -> EndReason | None:
        """Return why an object has ended between two neighbouring slices, if it has.

        Parameters
        ----------
        now, previous : Appearance
            On this slice and on the one before.
        first : Appearance
            Where the way began.
        """
        if now.area == 0 or previous.area == 0:
            return EndReason.OBJECT_END
        share = now.area / previous.area
        both = int((now.mask & previous.mask).sum())
        if share < self.smallest_share:
            return EndReason.OBJECT_END
        if share > self.largest_growth:
            return EndReason.MASK_JUMPED
        if both / min(now.area, previous.area) < self.least_overlap:
            return EndReason.MASK_JUMPED
        return EndReason.OTHER_GREY if self.is_other_grey(now, first) else None

    def is_other_grey(self, now: Appearance, first: Appearance) -> bool:
        """Tell whether a mask lies on other tissue than where the way began."""
        may_move = max(self.grey_spreads * first.spread, self.least_grey)
        return abs(now.grey - first.grey) > may_move
