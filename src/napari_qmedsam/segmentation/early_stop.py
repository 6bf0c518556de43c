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


WEIGHTS = (1.4, 0.5, 1.6, -0.7, 0.5)
"""Of the terms of :class:`Signs`, in their order."""


@dataclass(frozen=True)
class Signs:
    """What a slice shows of an object that was followed to it.

    Parameters
    ----------
    support : float
        Mean of what greys say where it is expected: 1 for the object, -1 against.
    area : float
        Of its mask, as a share of the largest so far.
    edge : float
        How much greys change across the outline that is expected, as a share of how
        much they did where the way began.
    grey_shift : float
        How far the mean grey of the mask has moved since, in standard deviations of
        the greys it had there.
    """

    support: float
    area: float
    edge: float
    grey_shift: float

    @property
    def log_odds(self) -> float:
        """Return the logarithm of the odds that the object is still there.

        Rounded weights of a logistic regression over the ways of one box through
        phantoms and half of the classes of a CT, nearly the same for two models;
        ``benchmarks/early_stop.py`` fits such weights.
        """
        return float(np.dot(WEIGHTS, self.terms))

    @property
    def terms(self) -> tuple[float, ...]:
        """Return what the weights of the regression belong to; the last is 1."""
        return (
            self.support,
            float(np.log(max(self.area, 1e-3))),
            min(self.edge, 2.0),
            min(self.grey_shift, 4.0),
            1.0,
        )


@dataclass(frozen=True)
class EarlyStop:
    """When an object counts as ended.

    A model that was shown a box finds something in it on any slice, and no single sign
    tells enough: an object grows small before it ends, its greys give way to those
    around it, its outline fades. All of them together decide; a mask that is small
    enough does so alone.

    Parameters
    ----------
    smallest_share : float
        Of the largest area so far; less than this is the end of an object whose greys
        speak neither for nor against it. It is a factor of e lower or higher for greys
        that are wholly its own or wholly those around it.
    least_log_odds : float
        Less is the end. Higher ends earlier.
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
    least_log_odds: float = 0.0
    least_overlap: float = 0.2
    grey_spreads: float = 3.0
    least_grey: float = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.smallest_share < 1:
            raise InvalidSettings(
                f"smallest_share {self.smallest_share} must lie in 0..1."
            )

    def why_ended(
        self, mask: NDArray[np.bool_], expected: NDArray[np.bool_], signs: Signs
    ) -> EndReason | None:
        """Return why an object has ended between two neighbouring slices, if it has.

        Parameters
        ----------
        mask : ndarray, (Y, X) bool
            Found on the slice.
        expected : ndarray, (Y, X) bool
            The mask before, moved along with the slice; not empty.
        signs : Signs
            Of the slice.
        """
        area = int(np.count_nonzero(mask))
        if area == 0:
            return EndReason.OBJECT_END
        is_small = signs.area < self.smallest_share * np.exp(-signs.support)
        if is_small or signs.log_odds < self.least_log_odds:
            is_strange = signs.support < 0
            return EndReason.OTHER_GREY if is_strange else EndReason.OBJECT_END
        both = np.count_nonzero(mask & expected)
        smaller = min(area, int(np.count_nonzero(expected)))
        return EndReason.MASK_JUMPED if both < self.least_overlap * smaller else None

    def is_other_grey(self, now: Appearance, first: Appearance) -> bool:
        """Tell whether a mask lies on other tissue than where it was drawn."""
        may_move = max(self.grey_spreads * first.spread, self.least_grey)
        return abs(now.grey - first.grey) > may_move
