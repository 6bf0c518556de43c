"""The scores of a mask against its reference, in the order tables show them.

A further score is a function in :mod:`~napari_qmedsam.evaluation.metrics`, a field
here, and a test: every table, file and command iterates over the fields.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean
from typing import Any

from numpy.typing import ArrayLike

from napari_qmedsam.evaluation.metrics import dice, relative_volume_difference
from napari_qmedsam.evaluation.rules import TOLERANCE_MM
from napari_qmedsam.evaluation.surfaces import SurfaceDistances

PERCENT, MILLIMETRES = ("%", 100.0), ("mm", 1.0)
"""Units of scores in tables, and what a score is multiplied by."""


def _shown(short_name: str, unit: tuple[str, float]) -> Any:
    return field(metadata={"short_name": short_name, "unit": unit})


@dataclass(frozen=True)
class Scores:
    """How well a mask fits its reference; each field is a column of the tables.

    Two empty masks have no scores: all are NaN. Where one of the two is empty, DSC and
    NSD are 0 and the distance is infinite.

    Parameters
    ----------
    dsc : float
        Dice similarity coefficient, 0 to 1.
    nsd : float
        Normalised surface distance, 0 to 1.
    hd95_mm : float
        95th percentile of the surface distances.
    volume_difference : float
        Of the mask and its reference, relative to the reference; above 0 where the
        mask is too large.
    """

    dsc: float = _shown("DSC", PERCENT)
    nsd: float = _shown("NSD", PERCENT)
    hd95_mm: float = _shown("HD95", MILLIMETRES)
    volume_difference: float = _shown("RVD", PERCENT)

    @classmethod
    def of(
        cls,
        prediction: ArrayLike,
        reference: ArrayLike,
        spacing_mm: Sequence[float],
        tolerance_mm: float = TOLERANCE_MM,
    ) -> "Scores":
        """Score a mask.

        Parameters
        ----------
        prediction, reference : array_like, (Z, Y, X) or (Y, X), bool or int
            Inside wherever the value is not 0. 2D masks are scored by contours.
        spacing_mm : sequence of float
            One per axis, in the order of the axes.
        tolerance_mm : float
            Of the NSD.

        Raises
        ------
        GridMismatch, InvalidSettings
            As :func:`~napari_qmedsam.evaluation.metrics.normalized_surface_distance`.
        """
        surfaces = SurfaceDistances.between(prediction, reference, spacing_mm)
        return cls(
            dsc=dice(prediction, reference),
            nsd=surfaces.share_within(tolerance_mm),
            hd95_mm=surfaces.hausdorff(95),
            volume_difference=relative_volume_difference(prediction, reference),
        )

    @classmethod
    def mean(cls, items: "Iterable[Scores]") -> "Scores":
        """Return the mean of each score over those that are finite; NaN without any.

        An object that was missed is in the means of DSC and NSD with its 0; its
        infinite distance is left out, or one object would hide all the others.
        """
        items = list(items)
        return cls(
            *(
                _mean_of_finite([getattr(item, f.name) for item in items])
                for f in fields(cls)
            )
        )

    @property
    def is_missed(self) -> bool:
        """Whether one of the two masks was empty and the other was not."""
        return math.isinf(self.hd95_mm)

    def shown(self) -> dict[str, float]:
        """Return the scores by their names, in the units of tables: % and mm."""
        return {
            f.name: f.metadata["unit"][1] * getattr(self, f.name) for f in fields(self)
        }

    def cells(self, form: str = "{:.2f}") -> list[str]:
        """Return the scores as text, as :func:`headings` names them; empty for NaN."""
        return [
            "" if math.isnan(value) else form.format(value)
            for value in self.shown().values()
        ]


SCORE_NAMES = tuple(f.name for f in fields(Scores))
"""Names of the scores, in the order of their columns."""


def headings(tolerance_mm: float | None = None) -> list[str]:
    """Return the titles of the columns, with units.

    Parameters
    ----------
    tolerance_mm : float, optional
        Named in the title of the NSD.
    """
    titles = {
        f.name: f"{f.metadata['short_name']} {f.metadata['unit'][0]}"
        for f in fields(Scores)
    }
    if tolerance_mm is not None:
        titles["nsd"] += f" at {tolerance_mm:g} mm"
    return list(titles.values())


def _mean_of_finite(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return fmean(known) if known else math.nan
