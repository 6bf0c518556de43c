"""Why runs end, for every object and in one sentence."""

import numpy as np
import pytest

from napari_qmedsam import Session
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.early_stop import EarlyStop
from napari_qmedsam.segmentation.endings import EndReason, ObjectEnd, RunEnd
from napari_qmedsam.segmentation.propagation import Direction, Follow
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.windows import Window

NAMES = {1: "liver", 2: "spleen"}


@pytest.fixture
def tube(backend, bright_volume):
    """Make a session with a square tube through some of 12 slices."""

    def make(first, last):
        truth = np.zeros((12, 32, 32), bool)
        truth[first : last + 1, 10:18, 8:16] = True
        truth[:, 22:28, 20:28] = True  # another object
        session = Session(bright_volume(truth), SliceSegmenter(backend), Window(0, 255))
        session.add_object(Box3D(7, 9, 4, 17, 19, 5), "liver")
        return session

    return make


def told(run):
    return [(end.reason, end.slice_index, end.step) for end in run.end.ends]


def test_an_object_that_ends_says_where(tube):
    run = tube(2, 8).propagate(4)
    assert told(run) == [
        (EndReason.OBJECT_END, 9, 1),
        (EndReason.OBJECT_END, 1, -1),
    ]
    text = "liver: it ends before slice 9; liver: it ends before slice 1."
    assert run.end.text(NAMES) == text


def test_a_scan_that_ends_says_so(tube):
    run = tube(2, 11).propagate(4, Direction.UP)
    assert told(run) == [(EndReason.SCAN_END, 11, 1)]
    assert run.end.text(NAMES) == "liver: done to the end of the scan, slice 11."


def test_a_mask_that_jumps_says_so():
    ends = (ObjectEnd(1, EndReason.MASK_JUMPED, 7, 1),)
    assert RunEnd((5, 6, 7), ends).text(NAMES) == (
        "liver: stopped before slice 7, where the mask jumps."
    )


def test_a_box_that_ends_is_done(tube):
    session = tube(2, 11)
    assert session.segment().end.text(NAMES) == "Done, slice 4."
    session.change_object(1, box=Box3D(7, 9, 4, 17, 19, 8))
    for way in Follow:
        run = session.segment(follow=way)
        assert {end.reason for end in run.end.ends} == {EndReason.BOX_END}
        assert run.end.text(NAMES) == "Done, 4 slices, 4 to 7."
    run = session.propagate(4, Direction.UP)
    assert run.end.text(NAMES) == "Done, 3 slices, 5 to 7."


def test_following_a_mask_says_where_it_was_lost(tube):
    session = tube(2, 6)
    session.change_object(1, box=Box3D(7, 9, 3, 17, 19, 9))
    run = session.segment(follow=Follow.MASK)
    assert (EndReason.OBJECT_END, 7, 1) in told(run)


def test_an_empty_mask_is_not_done(tube):
    run = tube(8, 9).segment()
    assert told(run) == [(EndReason.EMPTY, 4, 1)]
    assert run.end.text(NAMES) == "liver: nothing was found, the mask is empty."


def test_no_slice_that_way(tube):
    session = tube(2, 11)
    session.change_object(1, box=Box3D(7, 9, 11, 17, 19, 12))
    session.segment()
    assert session.propagate(11, Direction.UP).end.text(NAMES) == (
        "There is no slice that way."
    )


def test_what_was_cancelled_says_where(tube):
    session = tube(2, 11)
    updates = session.iter_propagate(4, Direction.UP)
    seen = [next(updates) for _ in range(3)]
    updates.close()
    end = RunEnd.of(seen, is_cancelled=True)
    assert end.text(NAMES) == "Cancelled at slice 6."
    assert end.ends == ()
    assert RunEnd.of([], is_cancelled=True).text(NAMES) == "Cancelled."


def test_several_objects_are_told_apart(tube):
    session = tube(2, 8)
    session.add_object(Box3D(19, 21, 4, 29, 29, 7), "spleen")
    run = session.propagate(4, Direction.UP)
    assert run.end.text(NAMES) == "liver: it ends before slice 9; the others: done."


def test_other_greys_are_a_reason():
    ends = (ObjectEnd(3, EndReason.OTHER_GREY, 5, -1),)
    assert RunEnd((6, 5), ends).text({}) == (
        "object 3: stopped before slice 5, where the mask lies on other greys."
    )
    assert EarlyStop().least_grey == 15


def test_a_slice_of_one_value_has_no_object(tube, new_backend):
    session = tube(2, 8)
    session.volume.array[4] = 0
    assert not session.segment().updates[0].found
    assert not session.labels.any()
    masks = session.segmenter.segment_slice(
        session.volume, 4, [session.objects[1].box.in_plane], Window(-10, 10)
    )
    assert masks.shape == (1, 32, 32)
    assert not masks.any()
    session.volume.array[4, 0, 0] = 1
    assert len(session.segment().updates) == 1
