"""From a corrected slice up and down, and where that ends."""

import numpy as np
import pytest

from napari_qmedsam import Session
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.segmentation.early_stop import Appearance, EarlyStop
from napari_qmedsam.segmentation.propagation import Direction
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.windows import Window

FULL = Window(0, 255)


@pytest.fixture
def session(backend, bright_volume):
    """A square tube from slice 2 to 8 that walks to the right; 12 slices."""
    truth = np.zeros((12, 32, 32), bool)
    for z in range(2, 9):
        truth[z, 10:18, 4 + z : 12 + z] = True
    made = Session(bright_volume(truth), SliceSegmenter(backend), FULL)
    made.truth = truth
    return made


def run(updates):
    return [update.slice_index for update in updates]


def test_a_box_on_one_slice_is_propagated_to_the_end_of_the_object(session):
    session.add_object(Box3D(7, 9, 4, 17, 19, 5))
    visited = run(session.iter_propagate(4, Direction.UP))
    assert visited == [4, 5, 6, 7, 8, 9]  # slice 9 tells that it has ended
    assert np.array_equal(session.labels[4:] == 1, session.truth[4:])
    assert not session.labels[:4].any()
    run(session.iter_propagate(4, Direction.DOWN))
    assert np.array_equal(session.labels == 1, session.truth)
    box = session.objects[1].box
    assert (box.z_min, box.z_max) == (2, 9)


def test_propagating_is_one_step_with_the_slices_it_adds(session):
    added = session.add_object(Box3D(7, 9, 4, 17, 19, 5))
    run(session.iter_propagate(4, Direction.UP))
    session.undo()
    assert not session.labels.any()
    assert session.objects[1] == added


def test_both_ways_are_one_step(session):
    added = session.add_object(Box3D(7, 9, 4, 17, 19, 5))
    seen = []
    done = session.propagate(4, progress=lambda *told: seen.append(told))
    # The slice itself, up past the end of the object, and down past its start.
    assert [u.slice_index for u in done] == [4, 5, 6, 7, 8, 9, 3, 2, 1]
    # Eleven slices lie beyond it, seven of them above.
    assert seen == [(i, 11) for i in (0, 1, 2, 3, 4, 5, 8, 9, 10)]
    assert np.array_equal(session.labels == 1, session.truth)
    box = session.objects[1].box
    assert (box.z_min, box.z_max) == (2, 9)
    session.undo()
    assert not session.labels.any()
    assert session.objects[1] == added
    session.redo()
    assert session.objects[1].box == box


def test_a_corrected_slice_is_kept_and_is_where_the_next_starts(session):
    session.add_object(Box3D(7, 9, 4, 17, 19, 8))
    session.labels[4, 10:14, 8:16] = 1  # only the upper half, by hand
    kept = session.labels[4].copy()
    run(session.iter_propagate(4, Direction.UP))
    assert np.array_equal(session.labels[4], kept)
    # About the half that was painted, not the drawn box.
    assert Box2D.enclosing(session.labels[5] == 1).y_max < 17


def test_a_box_that_goes_on_ends_the_way(session):
    session.add_object(Box3D(7, 9, 4, 17, 19, 7))
    assert run(session.iter_propagate(4, Direction.UP)) == [4, 5, 6]


def test_the_rest_of_the_box_is_emptied_where_the_object_ends_before(session):
    session.add_object(Box3D(7, 9, 6, 20, 19, 12))
    session.labels[10, 12, 12] = 1  # of an earlier run
    session.labels[10, 20, 20] = 7
    run(session.iter_propagate(6, Direction.UP))
    assert not (session.labels[9:] == 1).any()
    assert session.labels[10, 20, 20] == 7


def test_what_a_mask_shows_is_the_middle_of_its_greys():
    image = np.array([[10, 20, 30, 200]], np.uint8)
    shown = Appearance.under(np.array([[True, True, True, False]]), image)
    assert (shown.grey, shown.spread, shown.area) == (20, 10, 3)
    with pytest.raises(InvalidSettings, match="smallest_share"):
        EarlyStop(smallest_share=2)


def test_a_key_box_takes_up_again_what_had_ended(session):
    session.truth[6] = False
    session.volume.array[6, :31] = 20
    session.add_object(Box3D(7, 9, 4, 17, 19, 5))
    session.set_box(1, 8, Box2D(11, 9, 21, 19))
    run(session.iter_propagate(4, Direction.UP))
    assert not (session.labels[6:8] == 1).any()
    assert np.array_equal(session.labels[8] == 1, session.truth[8])


def test_stopping_half_way_keeps_what_is_done(session):
    session.add_object(Box3D(7, 9, 4, 17, 19, 5))
    updates = session.iter_propagate(4, Direction.UP)
    for _ in range(3):
        next(updates)
    updates.close()
    assert np.array_equal(session.labels[4:7] == 1, session.truth[4:7])
    assert not session.labels[7:].any()
    assert session.objects[1].box.z_max == 7
    session.undo()
    assert not session.labels.any()
    assert session.objects[1].box.z_max == 5


def test_locked_neighbours_stay(session):
    session.add_object(Box3D(7, 9, 4, 17, 19, 5))
    session.add_object(Box3D(0, 0, 6, 5, 5, 7))
    session.labels[6, 12, 12] = 2
    session.change_object(2, is_locked=True)
    run(session.iter_propagate(4, Direction.UP, [1]))
    assert session.labels[6, 12, 12] == 2
