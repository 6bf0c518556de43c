"""What boxes buy, on objects whose masks can be told by hand.

The model of these tests finds what is bright inside a box. So a mask is propagated as
long as something bright lies in the box of the mask before it.
"""

import json
import math

import numpy as np
import pytest

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.effort import measure_effort
from napari_qmedsam.evaluation.effort_report import EffortReport, effort_table
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.evaluation.simulated_user import DrawnObject
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.windows import Window

SIDE = 12


def column(slices, depth=10, shift=0):
    """A square on these slices, `shift` columns further to the right on each."""
    truth = np.zeros((depth, 32, 32), np.uint8)
    for step, z in enumerate(slices):
        left = 4 + step * shift
        truth[z, 4 : 4 + SIDE, left : left + SIDE] = 1
    return truth


@pytest.fixture
def measure(backend, bright_volume):
    """Measure the effort for a truth, of which the model sees `seen`."""

    def measure(truth, seen=None, **options):
        volume = bright_volume((truth if seen is None else seen) > 0)
        return measure_effort(SliceSegmenter(backend), volume, truth, **options)

    return measure


def rows(report):
    return {row.way: row.efforts[0] for row in report.rows}


def test_one_box_is_enough_for_what_ends_where_it_is_not_to_be_seen(measure):
    report = measure(column(range(2, 8)))
    assert report.boxes_needed == (1,)
    for effort in rows(report).values():
        assert effort.scores == Scores(1.0, 1.0, 0.0, 0.0)
        assert (effort.slices_too_many, effort.slices_too_few) == (0, 0)
    boxes = {way: effort.boxes for way, effort in rows(report).items()}
    assert boxes == {
        "1 box": 1,
        "2 boxes": 2,
        "3 boxes": 3,
        "5 boxes": 5,
        "a box on every slice": 6,
        # Nothing was wrong, so nothing was drawn again.
        "1 box, worst slice redrawn up to 2": 1,
        "1 box, worst slice redrawn up to 3": 1,
        "1 box, worst slice redrawn up to 5": 1,
    }


def test_slices_beyond_the_end_are_too_many_until_the_user_says_so(measure):
    report = measure(column(range(2, 8)), seen=column(range(2, 10)))
    one = rows(report)["1 box"]
    assert (one.slices_too_many, one.slices_too_few) == (2, 0)
    assert one.scores.dsc == pytest.approx(2 * 6 / (6 + 8))
    # The last of two boxes says where the object ends.
    assert rows(report)["2 boxes"].slices_too_many == 0
    # So does "not here" on slice 8, the first of two that are equally wrong.
    told = rows(report)["1 box, worst slice redrawn up to 2"]
    assert (told.boxes, told.slices_too_many) == (2, 0)
    assert told.scores.dsc == 1
    assert report.boxes_needed == (2,)


def test_slices_after_a_gap_are_too_few_until_one_of_them_is_drawn(measure):
    truth = column(range(9))
    report = measure(truth, seen=column([0, 1, 2, 3, 4, 5, 7, 8]))
    one = rows(report)["1 box"]
    assert (one.slices_too_many, one.slices_too_few) == (0, 3)
    assert one.scores.dsc == pytest.approx(2 * 6 / (6 + 9))
    # A box on the gap itself (slice 6) does not help, the next one does.
    steps = [rows(report)[f"1 box, worst slice redrawn up to {n}"] for n in (2, 3)]
    assert [step.slices_too_few for step in steps] == [3, 1]
    assert steps[1].scores.dsc == pytest.approx(2 * 8 / (8 + 9))
    assert report.boxes_needed == (3,)


def test_a_path_that_bends_is_followed_between_two_boxes(measure):
    there, back = column(range(5), shift=2), column(range(8, 4, -1), shift=2)
    truth = there | back
    report = measure(truth)
    found = rows(report)
    assert found["2 boxes"].scores.dsc == found["3 boxes"].scores.dsc == 1
    assert found["a box on every slice"].scores.dsc == 1


def test_what_cannot_be_had_is_given_up(measure):
    # Every other slice is not to be seen: each box gives its own slice at most.
    truth = column(range(10))
    seen = column(range(0, 10, 2))
    report = measure(truth, seen, most_boxes=3, box_counts=(1, 2))
    assert report.boxes_needed == (None,)
    assert report.median_boxes_needed == math.inf
    assert "median above 3; 0 of 1 objects got there with 3 at most" in report.summary()


def test_a_user_does_not_draw_the_same_slice_twice(backend, bright_volume):
    truth = column(range(4))
    volume = bright_volume(truth[:] & False)  # nothing is ever found
    user = DrawnObject(volume, Window(0, 255), truth > 0)
    efforts = user.redrawing_efforts(SliceSegmenter(backend), 0.5, 1, 10)
    assert [effort.boxes for effort in efforts] == [1, 2, 3, 4]
    assert {effort.slices_too_few for effort in efforts} == {4}


def test_boxes_lie_from_the_first_slice_to_the_last(bright_volume):
    truth = column(range(2, 9)) > 0
    user = DrawnObject(bright_volume(truth), Window(0, 255), truth)

    def slices(count):
        return [key.slice_index for key in user.boxes(count).keys]

    assert slices(1) == [5]
    assert slices(2) == [2, 8]
    assert slices(3) == [2, 5, 8]
    assert slices(20) == slices(None) == [2, 3, 4, 5, 6, 7, 8]


def test_an_object_in_two_pieces_is_empty_between_them_if_every_slice_is_drawn(
    measure,
):
    found = rows(measure(column([1, 2, 3, 6, 7]), seen=column(range(1, 8))))
    assert found["2 boxes"].slices_too_many == 2
    every = found["a box on every slice"]
    assert (every.boxes, every.slices_too_many, every.scores.dsc) == (7, 0, 1)


def test_every_way_encodes_each_slice_once(measure, backend):
    measure(column(range(2, 8)), box_counts=(2,))
    # Two boxes and every slice need six slices each; one box looks at one more on
    # either side.
    assert len(backend.encoded) == 6 + 6 + 8


def test_careless_boxes_are_the_same_each_time(measure):
    def scores(seed):
        report = measure(column(range(2, 8)), box_jitter=4, seed=seed)
        return [row.mean for row in report.rows]

    assert scores(1) == scores(1) != scores(2)
    assert min(mean.dsc for mean in scores(1)) < 1


def test_means_are_over_objects_and_progress_counts_all(measure):
    truth = column(range(2, 8))
    truth[0, 20:30, 18:28] = 7
    seen = []
    report = measure(truth, progress=lambda *now: seen.append(now))
    assert report.class_ids == (1, 7)
    assert seen[0] == (1, 12)
    assert seen[-1] == (12, 12)
    means = {row.way: row.means() for row in report.rows}
    assert means["5 boxes"]["boxes"] == (5 + 1) / 2  # one slice takes one box
    content = json.loads(json.dumps(report.to_dict()))
    assert content["boxes_needed"] == {"1": 1, "7": 1}
    assert content["rows"][0]["dsc"] == 100
    assert content["model"] == "counting"


def test_the_table_has_a_row_for_each_way_of_each_report(measure):
    report = measure(column(range(2, 8)), box_counts=(1, 2))
    table = effort_table([report, report])
    assert table[0] == [
        *("prompted by", "boxes", "DSC %", "NSD % at 2 mm", "HD95 mm", "RVD %"),
        *("slices too many", "too few", "seconds"),
    ]
    assert len(table) == 1 + 2 * 4
    assert table[1][:-1] == [
        *("1 box", "1.0", "100.00", "100.00", "0.00", "0.00", "0.00", "0.00")
    ]
    assert len(effort_table([report], run_time=False)[1]) == len(table[1]) - 1
    assert isinstance(report, EffortReport)


@pytest.mark.parametrize("options", [{"box_counts": ()}, {"box_counts": (0, 1)}])
def test_no_boxes_are_refused(measure, options):
    with pytest.raises(InvalidSettings, match="1 box or more"):
        measure(column(range(2, 8)), **options)


def test_objects_that_are_too_small_are_refused(measure):
    truth = np.zeros((4, 32, 32), np.uint8)
    truth[1, 4:9, 4:9] = 1
    with pytest.raises(InvalidSettings, match="at least 100 voxels"):
        measure(truth)


def test_ways_that_are_timed_share_no_embeddings(measure, backend):
    measure(column(range(2, 8)), box_counts=(2, 3), run_time=False)
    assert len(backend.encoded) == len(set(backend.encoded))
    backend.encoded.clear()
    measure(column(range(2, 8)), box_counts=(2, 3))
    assert len(backend.encoded) >= 3 * len(set(backend.encoded))
