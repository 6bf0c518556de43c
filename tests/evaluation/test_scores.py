"""One scorer: what tables iterate over."""

import math

import numpy as np
import pytest

from napari_qmedsam.evaluation.metrics import (
    dice,
    hausdorff_distance,
    normalized_surface_distance,
    relative_volume_difference,
)
from napari_qmedsam.evaluation.scores import SCORE_NAMES, Scores, headings

SPACING = (5.0, 2.0, 1.0)


@pytest.fixture
def masks():
    """A block of 2 by 4 by 4 voxels, and one of a slice more."""
    prediction, reference = np.zeros((2, 5, 8, 8), bool)
    reference[1:3, 2:6, 2:6] = True
    prediction[1:4, 2:6, 2:6] = True
    return prediction, reference


def test_scores_are_those_of_the_metrics(masks):
    scores = Scores.of(*masks, SPACING, 1.0)
    assert scores == Scores(
        dsc=dice(*masks),
        nsd=normalized_surface_distance(*masks, SPACING, 1.0),
        hd95_mm=hausdorff_distance(*masks, SPACING, 95),
        volume_difference=relative_volume_difference(*masks),
    )
    assert scores.dsc == pytest.approx(2 * 32 / (32 + 48))
    assert scores.hd95_mm == 5  # the slice that is too many is 5 mm thick
    assert scores.volume_difference == 0.5


def test_columns_are_the_fields_in_percent_and_millimetres(masks):
    assert SCORE_NAMES == ("dsc", "nsd", "hd95_mm", "volume_difference")
    assert headings() == ["DSC %", "NSD %", "HD95 mm", "RVD %"]
    assert headings(1.5)[1] == "NSD % at 1.5 mm"
    scores = Scores(0.5, 0.25, 5.0, -0.1)
    assert scores.cells() == ["50.00", "25.00", "5.00", "-10.00"]
    assert list(scores.shown()) == list(SCORE_NAMES)


def test_nothing_and_nothing_has_no_scores():
    scores = Scores.of(np.zeros((3, 3)), np.zeros((3, 3)), (1, 1))
    assert all(math.isnan(value) for value in scores.shown().values())
    assert scores.cells() == [""] * 4
    assert not scores.is_missed


def test_means_leave_out_what_is_undefined_or_infinite(masks):
    missed = Scores.of(0 * masks[0], masks[1], SPACING)
    assert missed == Scores(0.0, 0.0, math.inf, -1.0)
    assert missed.is_missed
    undefined = Scores(*[math.nan] * 4)
    mean = Scores.mean([missed, undefined, Scores(1.0, 0.5, 3.0, 0.5)])
    assert mean == Scores(0.5, 0.25, 3.0, -0.25)
    assert all(math.isnan(value) for value in Scores.mean([]).shown().values())
