"""Are few bits enough? A test of non-inferiority, and how many cases it would take.

A variant is enough if its scores are not lower than those of the float model by more
than a margin that the user names. Cases are paired: each gives the difference of both
models on it. The null hypothesis is that the mean difference is the margin or worse.

Sources: one-sided level and margin as ICH E9 (1998) and CONSORT for non-inferiority
(Piaggio et al., *JAMA* 308, 2594, 2012) have them; several variants by S. Holm,
*Scand. J. Stat.* 6, 65 (1979); sample size from the non-central t distribution (Chow,
Shao, Wang, *Sample Size Calculations in Clinical Research*, section 3.1).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.evaluation.intervals import Interval, bootstrap_mean
from napari_qmedsam.evaluation.margins import STANDARD, Margins
from napari_qmedsam.evaluation.sample_size import FEWEST, LEVEL, MOST, units_needed
from napari_qmedsam.evaluation.scores import Scores


class Answer(str, Enum):
    """What can be said of a variant."""

    ENOUGH = "enough"
    """It loses less than the margin."""

    NOT_ENOUGH = "not enough"
    """It loses more than the margin."""

    OPEN = "cannot be said"
    """These cases do not tell."""


class Unit(str, Enum):
    """What counts as one independent observation."""

    PATIENT = "patient"

    OBJECT = "object"
    """Objects of one scan depend on each other: the test is too sure of itself, and
    says nothing of other patients."""


@dataclass(frozen=True)
class ScoreTest:
    """The test of one score.

    Parameters
    ----------
    score : str
        ``dsc`` or ``nsd``.
    margin : float
        Points.
    difference : Interval
        Variant minus float model, in points.
    p : float
        One-sided, that of this score and variant alone; NaN with too few units.
    needed : int or None
        Units that would show it, if the differences go on as they are; None where
        none would.
    """

    score: str
    margin: float
    difference: Interval
    p: float
    needed: int | None


@dataclass(frozen=True)
class Verdict:
    """What can be said of a variant by all scores together.

    Parameters
    ----------
    variant, reference : str
    unit : Unit
    units : int
        How many there were.
    tests : tuple of ScoreTest
    p : float
        The larger one of the scores, after Holm over all variants.
    answer : Answer
    """

    variant: str
    reference: str
    unit: Unit
    units: int
    tests: tuple[ScoreTest, ...]
    p: float
    answer: Answer

    @property
    def needed(self) -> int | None:
        """Units that would be enough for all scores; None where none would."""
        each = [test.needed for test in self.tests]
        known = [number for number in each if number is not None]
        return max(known) if len(known) == len(each) else None

    @property
    def text(self) -> str:
        """All of it, in a sentence or two."""
        count = f"{self.units} {self.unit.value}{'s' if self.units != 1 else ''}"
        shown = ", ".join(
            f"{t.score.upper()} {t.difference.text('{:+.2f}')} points with a margin "
            f"of {t.margin:g}"
            for t in self.tests
        )
        if self.answer is Answer.ENOUGH:
            said = f"'{self.variant}' is enough on these {count}"
        elif self.answer is Answer.NOT_ENOUGH:
            said = f"'{self.variant}' is not enough: it loses more than the margin"
        else:
            said = f"Of '{self.variant}' it cannot be said with {count}"
        is_tested = not math.isnan(self.p) and self.answer is not Answer.NOT_ENOUGH
        p = f"; p {p_text(self.p)}" if is_tested else ""
        text = f"{said} ({shown}{p})."
        if self.answer is Answer.OPEN:
            text += f" {self._advice()}"
        if self.unit is Unit.OBJECT:
            text += " By object of one scan: it says nothing of other patients."
        return text

    def _advice(self) -> str:
        if any(t.difference.mean <= -t.margin for t in self.tests):
            return "More would hardly help: on average it loses the margin already."
        if self.needed is None:
            return f"More than {MOST} {self.unit.value}s would be needed."
        return f"About {self.needed} {self.unit.value}s would be needed."


@dataclass(frozen=True)
class PairedScores:
    """A variant and the model it is compared with, on the same units.

    Parameters
    ----------
    variant, reference : str
    dsc, nsd : tuple of float
        Variant minus reference in points, one for each unit. Those that are not
        finite are left out.
    """

    variant: str
    reference: str
    dsc: tuple[float, ...]
    nsd: tuple[float, ...]

    @classmethod
    def of(
        cls, variant: str, reference: str, pairs: Iterable[tuple[Scores, Scores]]
    ) -> "PairedScores":
        """Take the differences of scores, each pair the variant's and the reference's.

        Parameters
        ----------
        variant, reference : str
        pairs : iterable of (Scores, Scores)
            One for each unit.
        """
        shown = [(own.shown(), other.shown()) for own, other in pairs]
        return cls(
            variant,
            reference,
            tuple(a["dsc"] - b["dsc"] for a, b in shown),
            tuple(a["nsd"] - b["nsd"] for a, b in shown),
        )


def judge(
    pairs: Sequence[PairedScores],
    margins: Margins = STANDARD,
    unit: Unit = Unit.PATIENT,
    seed: int = 0,
) -> list[Verdict]:
    """Test every variant against the model it is compared with.

    A variant is enough if every score shows it: the p of Student's paired t test
    after Holm is at most `LEVEL`, and the bootstrap interval ends above the margin.
    Both are asked for, because losses are rare and large: where the t test takes them
    for symmetric, the bootstrap does not.

    Parameters
    ----------
    pairs : sequence of PairedScores
    margins : Margins
    unit : Unit
        What one difference is of.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of Verdict
        In the order of `pairs`.
    """
    level = LEVEL / max(1, len(pairs))
    scores = [field.name for field in fields(Margins)]
    tests = [
        tuple(
            _test(s, getattr(margins, s), getattr(pair, s), level, seed) for s in scores
        )
        for pair in pairs
    ]
    adjusted = holm([max(1.0 if math.isnan(t.p) else t.p for t in e) for e in tests])
    verdicts = []
    for pair, each, p in zip(pairs, tests, adjusted, strict=True):
        units = min(t.difference.count for t in each)
        shown = math.nan if units < FEWEST else p
        answer = _answer(each, units, p)
        verdicts.append(
            Verdict(pair.variant, pair.reference, unit, units, each, shown, answer)
        )
    return verdicts


def smallest_sufficient(
    verdicts: Sequence[Verdict], costs: Mapping[str, float]
) -> Verdict | None:
    """Return the cheapest of the variants that are enough; None where none is.

    Parameters
    ----------
    verdicts : sequence of Verdict
    costs : mapping of str to float
        By variant: effective bits, or milliseconds.
    """
    enough = [v for v in verdicts if v.answer is Answer.ENOUGH]
    return min(enough, key=lambda v: costs[v.variant], default=None)


def verdict_cells(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Return the verdicts as a table of text, headings first."""
    scores = [field.name for field in fields(Margins)]
    rows = [
        [
            "model",
            "against",
            "units",
            *(f"{s.upper()} difference" for s in scores),
            "p (Holm)",
            "verdict",
            "units needed",
        ]
    ]
    for verdict in verdicts:
        is_open = verdict.answer is Answer.OPEN
        needed = "" if verdict.needed is None or not is_open else str(verdict.needed)
        rows.append(
            [
                verdict.variant,
                verdict.reference,
                f"{verdict.units} {verdict.unit.value}s",
                *(t.difference.text("{:+.2f}") for t in verdict.tests),
                "" if math.isnan(verdict.p) else p_text(verdict.p),
                verdict.answer.value,
                needed,
            ]
        )
    return rows


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number (Holm's step-down method).

    Returns
    -------
    list of float
        In the same order, at most 1.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, highest)
    return adjusted


def p_text(p: float) -> str:
    """Return a p value as papers write it."""
    return "below 0.0001" if p < 1e-4 else f"{p:.4f}"


# Helpers ------------------------------------------------------------------


def _test(
    score: str, margin: float, values: Sequence[float], level: float, seed: int
) -> ScoreTest:
    from scipy.stats import ttest_1samp

    known: NDArray[np.float64] = np.asarray(values, float)
    known = known[np.isfinite(known)]
    interval = bootstrap_mean(known, seed)
    if len(known) < 2:
        return ScoreTest(score, margin, interval, math.nan, None)
    if np.ptp(known) < 1e-12:
        p = 0.0 if interval.mean > -margin else 1.0
    else:
        p = float(ttest_1samp(known, -margin, alternative="greater").pvalue)
    needed = units_needed(interval.mean, float(known.std(ddof=1)), margin, level)
    return ScoreTest(score, margin, interval, p, needed if needed <= MOST else None)


def _answer(tests: Sequence[ScoreTest], units: int, p: float) -> Answer:
    if units < FEWEST:
        return Answer.OPEN
    if any(t.difference.upper < -t.margin for t in tests):
        return Answer.NOT_ENOUGH
    is_above = all(t.difference.lower > -t.margin for t in tests)
    return Answer.ENOUGH if p <= LEVEL and is_above else Answer.OPEN
