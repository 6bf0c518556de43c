"""Verdicts: what is enough, what is not, what cannot be said, and how many it takes."""

import math

import numpy as np
import pytest
from scipy import stats

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.intervals import bootstrap_mean
from napari_qmedsam.evaluation.margins import Margins
from napari_qmedsam.evaluation.noninferiority import (
    LEVEL,
    Answer,
    PairedScores,
    Unit,
    holm,
    judge,
    p_text,
    smallest_sufficient,
    verdict_cells,
)
from napari_qmedsam.evaluation.sample_size import FEWEST, MOST, POWER, units_needed


def pair(mean, spread=0.3, count=20, name="4 bits", seed=0):
    """Differences with exactly this mean."""
    noise = np.random.default_rng(seed).normal(0, spread, count)
    values = tuple((mean + noise - noise.mean()).tolist())
    return PairedScores(name, "float", values, values)


@pytest.mark.parametrize(
    ("mean", "answer"),
    [(0.0, Answer.ENOUGH), (-0.5, Answer.ENOUGH), (-1.0, Answer.OPEN),
     (-3.0, Answer.NOT_ENOUGH)],
)  # fmt: skip
def test_the_margin_decides(mean, answer):
    (verdict,) = judge([pair(mean)])
    assert verdict.answer is answer


def test_p_is_that_of_the_paired_t_test_with_the_scores_moved_by_the_margin():
    rng = np.random.default_rng(1)
    reference, variant = rng.normal(80, 5, 15), rng.normal(79.8, 5, 15)
    difference = tuple((variant - reference).tolist())
    margins = Margins(4.0, 4.0)
    (verdict,) = judge([PairedScores("v", "r", difference, difference)], margins)
    expected = stats.ttest_rel(variant + 4.0, reference, alternative="greater").pvalue
    assert verdict.p == pytest.approx(expected)


def test_both_scores_must_show_it():
    good, bad = pair(0.0).dsc, pair(-1.9, spread=3).nsd
    (verdict,) = judge([PairedScores("v", "r", good, bad)])
    assert verdict.answer is Answer.OPEN
    assert verdict.p == verdict.tests[1].p > verdict.tests[0].p


def test_below_the_fewest_nothing_is_said():
    (verdict,) = judge([pair(0.0, count=FEWEST - 1)])
    assert (verdict.answer, math.isnan(verdict.p)) == (Answer.OPEN, True)
    assert f"{FEWEST} patients would be needed" in verdict.text
    assert judge([pair(0.0, count=FEWEST)])[0].answer is Answer.ENOUGH
    # The sign test could not tell with one fewer.
    assert 0.5**FEWEST <= LEVEL < 0.5 ** (FEWEST - 1)


def test_more_variants_need_stronger_evidence():
    one = pair(-0.6, spread=0.8)
    alone, together = judge([one]), judge([one] * 4)
    assert together[0].p == pytest.approx(4 * alone[0].p)
    assert together[0].needed > alone[0].needed


def test_holm_is_that_of_the_literature():
    # Wright, Biometrics 48, 1005 (1992), in its order and turned around.
    given = [0.01, 0.04, 0.03, 0.005]
    assert holm(given) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(given[::-1]) == pytest.approx([0.02, 0.06, 0.06, 0.03])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 2.0), (-0.5, 1.0), (-0.2, 0.4)])
def test_the_number_that_is_named_shows_it_as_often_as_it_says(mean, deviation):
    count = units_needed(mean, deviation, 1.0, LEVEL)
    rng = np.random.default_rng(0)
    shown = []
    for number in (count, count - 3):
        drawn = rng.normal(mean, deviation, (4000, number))
        p = stats.ttest_1samp(drawn, -1.0, axis=1, alternative="greater").pvalue
        shown.append(np.mean(p <= LEVEL))
    assert shown[0] >= POWER - 0.02
    assert shown[1] < shown[0]


def test_no_number_is_named_where_none_would_do():
    assert units_needed(-1.0, 1.0, 1.0, LEVEL) == MOST + 1
    assert units_needed(-0.999, 10.0, 1.0, LEVEL) == MOST + 1
    assert units_needed(0.0, 0.0, 1.0, LEVEL) == FEWEST
    (verdict,) = judge([pair(-1.2, spread=2)])
    assert verdict.needed is None
    assert "on average it loses the margin already" in verdict.text


def test_at_the_margin_it_is_rarely_called_enough():
    """The level holds: of what loses exactly the margin, 1 in 40 passes."""
    rng = np.random.default_rng(0)
    values = rng.normal(-1.0, 1.0, (120, 20))
    passed = [
        judge([PairedScores("v", "r", tuple(row), (0.0,) * 20)])[0].answer
        is Answer.ENOUGH
        for row in values.tolist()
    ]
    assert np.mean(passed) < 0.07


def test_equal_masks_are_enough():
    (verdict,) = judge([PairedScores("v", "r", (0.0,) * 8, (0.0,) * 8)])
    assert (verdict.answer, verdict.p) == (Answer.ENOUGH, 0.0)
    assert "p below 0.0001" in verdict.text


def test_patients_without_scores_are_left_out():
    values = (*pair(0.0, count=8).dsc, math.nan)
    (verdict,) = judge([PairedScores("v", "r", values, values)])
    assert verdict.units == 8


def test_objects_are_called_objects():
    (verdict,) = judge([pair(0.0)], unit=Unit.OBJECT)
    assert "on these 20 objects" in verdict.text


def test_the_smallest_is_the_cheapest_of_those_that_are_enough():
    pairs = [pair(0.0, name="8"), pair(-0.3, name="4"), pair(-4.0, name="2")]
    verdicts = judge(pairs)
    smallest = smallest_sufficient(verdicts, {"8": 8.1, "4": 4.5, "2": 2.5})
    assert smallest is not None
    assert smallest.variant == "4"
    assert smallest_sufficient(verdicts[2:], {"2": 2.5}) is None


def test_the_table_has_a_row_for_each():
    cells = verdict_cells(judge([pair(0.0), pair(-1.0, name="2 bits")]))
    assert [row[0] for row in cells] == ["model", "4 bits", "2 bits"]
    assert [row[-2] for row in cells[1:]] == ["enough", "cannot be said"]
    assert {len(row) for row in cells} == {8}


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_margin_is_above_0(value):
    with pytest.raises(InvalidSettings, match="margin of the NSD must be above 0"):
        Margins(nsd=value)


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(60):
        values = 100 - rng.exponential(5, 25)  # skewed as scores are
        found = bootstrap_mean(values, seed)
        inside += found.lower <= 95 <= found.upper
    assert inside >= 0.85 * 60


def test_an_interval_of_few_values_has_no_ends():
    assert bootstrap_mean([]).text() == ""
    assert bootstrap_mean([3.0, math.nan]).text() == "3.00"
    same = bootstrap_mean([2.0, 2.0])
    assert (same.lower, same.upper, same.count) == (2.0, 2.0, 2)
    assert same.text("{:.0f}") == "2 (2 to 2)"


def test_p_is_written_as_in_papers():
    assert p_text(0.03125) == "0.0312"
    assert p_text(1e-9) == "below 0.0001"
