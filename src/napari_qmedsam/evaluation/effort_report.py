"""What boxes bought: scores, slices too many and too few, and time, by their number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from napari_qmedsam.evaluation.scores import Scores, headings

ENOUGH = 0.9
"""Share of the DSC of a box on every slice that counts as enough."""


@dataclass(frozen=True)
class Effort:
    """What was spent on one object, and what it gave.

    Parameters
    ----------
    boxes : int
        Boxes drawn, and slices on which the object was said to be absent.
    scores : Scores
        In 3D.
    slices_too_many, slices_too_few : int
        Slices with a mask where the object is not, and the other way round.
    seconds : float
        Waiting for the model, from the first box on.
    """

    boxes: int
    scores: Scores
    slices_too_many: int
    slices_too_few: int
    seconds: float


@dataclass(frozen=True)
class EffortRow:
    """All objects, prompted in one way.

    Parameters
    ----------
    way : str
    efforts : sequence of Effort
        One for each object, in the order of the report's classes.
    """

    way: str
    efforts: Sequence[Effort]

    @property
    def mean(self) -> Scores:
        """Means over objects."""
        return Scores.mean(effort.scores for effort in self.efforts)

    def means(self) -> dict[str, float]:
        """Return what was spent and the slices that were wrong, for an object."""
        return {
            "boxes": fmean(e.boxes for e in self.efforts),
            "slices_too_many": fmean(e.slices_too_many for e in self.efforts),
            "slices_too_few": fmean(e.slices_too_few for e in self.efforts),
            "seconds": fmean(e.seconds for e in self.efforts),
        }


@dataclass(frozen=True)
class EffortReport:
    """The objects of one volume under one model, for more and more boxes.

    Parameters
    ----------
    class_ids : tuple of int
    rows : tuple of EffortRow
    boxes_needed : tuple of (int or None)
        Boxes of the simulated user until an object had `ENOUGH`; None where it never
        had.
    most_boxes : int
        The user gave up after so many.
    tolerance_mm : float
        Of the NSD.
    model, backend, precision : str
    """

    class_ids: tuple[int, ...]
    rows: tuple[EffortRow, ...]
    boxes_needed: tuple[int | None, ...]
    most_boxes: int
    tolerance_mm: float
    model: str
    backend: str
    precision: str

    @property
    def median_boxes_needed(self) -> float:
        """Median over objects; infinite if most of them never had enough."""
        return median(math.inf if n is None else n for n in self.boxes_needed)

    def summary(self) -> str:
        """Return the sentence about the boxes that were needed."""
        reached = [n for n in self.boxes_needed if n is not None]
        middle = self.median_boxes_needed
        boxes = f"above {self.most_boxes}" if math.isinf(middle) else f"{middle:g}"
        there, every = len(reached), len(self.boxes_needed)
        return (
            f"Boxes until {ENOUGH:.0%} of the DSC of a box on every slice, each drawn "
            f"where it is worst: median {boxes}; {there} of {every} objects got there "
            f"with {self.most_boxes} at most."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; scores in percent and mm, means over objects."""
        return {
            "rows": [
                {
                    "way": row.way,
                    **{k: _known(v) for k, v in row.mean.shown().items()},
                    **{k: _known(v) for k, v in row.means().items()},
                }
                for row in self.rows
            ],
            "boxes_needed": {
                str(class_id): boxes
                for class_id, boxes in zip(
                    self.class_ids, self.boxes_needed, strict=True
                )
            },
            "most_boxes": self.most_boxes,
            "model": self.model,
            "backend": self.backend,
            "precision": self.precision,
        }


def effort_table(
    reports: Sequence[EffortReport], run_time: bool = True
) -> list[list[str]]:
    """Return a row for each way of each report, headings first.

    Parameters
    ----------
    reports : sequence of EffortReport
        At least one; several volumes or models go one below the other.
    run_time : bool
        Add the seconds of waiting for an object.
    """
    titles = ["prompted by", "boxes", *headings(reports[0].tolerance_mm)]
    titles += ["slices too many", "too few"] + ["seconds"] * run_time
    table = [titles]
    for report in reports:
        for row in report.rows:
            means = row.means()
            cells = [row.way, f"{means['boxes']:.1f}", *row.mean.cells()]
            cells += [
                f"{means[name]:.2f}" for name in ("slices_too_many", "slices_too_few")
            ]
            table.append(cells + [f"{means['seconds']:.2f}"] * run_time)
    return table


def _known(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
