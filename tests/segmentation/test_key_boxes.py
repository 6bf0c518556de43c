"""Boxes on several slices, points, locks, and other axes."""

import numpy as np
import pytest

from napari_qmedsam import Session
from napari_qmedsam.errors import InvalidBox, InvalidSettings
from napari_qmedsam.prompts import (
    Absence,
    Box2D,
    Box3D,
    KeyBox,
    Point,
    hull,
    interpolate,
)
from napari_qmedsam.segmentation.propagation import Follow
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

FULL = Window(0, 255)
KEYS = (KeyBox(1, Box2D(2, 4, 10, 12)), KeyBox(5, Box2D(6, 4, 18, 20)))


@pytest.fixture
def session(backend, bright_volume):
    """Everything bright: the masks are the boxes."""
    truth = np.ones((8, 32, 32), bool)
    return Session(bright_volume(truth), SliceSegmenter(backend), FULL)


def run(updates):
    return [(update.axis, update.slice_index) for update in updates]


def box_of(plane):
    return Box2D.around(plane)


def test_sides_move_linearly_between_key_boxes_and_stay_beyond_them():
    assert interpolate(KEYS, 3) == Box2D(4, 4, 14, 16)
    assert interpolate(KEYS[::-1], 2) == Box2D(3, 4, 12, 14)
    assert interpolate(KEYS, 1) == interpolate(KEYS, 0) == KEYS[0].box
    assert interpolate(KEYS, 5) == interpolate(KEYS, 7) == KEYS[1].box


def test_hull_is_the_box_around_all():
    assert hull([key.box for key in KEYS]) == Box2D(2, 4, 18, 20)


@pytest.mark.parametrize("way", Follow)
def test_every_slice_between_key_boxes_is_segmented_in_its_own_box(session, way):
    o = session.add_object(Box3D.on_slice(1, KEYS[0].box))
    session.set_box(o.object_id, 5, KEYS[1].box)
    run(session.segment(follow=Follow.BOX))
    for z in range(8):
        inside = 1 <= z < 6
        expected = interpolate(KEYS, z) if inside else None
        assert box_of(session.labels[z] == 1) == expected


def test_followed_masks_take_key_boxes_where_they_are(session):
    o = session.add_object(Box3D.on_slice(1, KEYS[0].box))
    session.set_box(o.object_id, 5, KEYS[1].box)
    run(session.segment(follow=Follow.MASK))
    for key in KEYS:
        assert box_of(session.labels[key.slice_index] == 1) == key.box


def test_a_key_box_extends_the_slices_and_replaces_the_one_on_its_slice(session):
    o = session.add_object(Box3D.on_slice(3, KEYS[0].box))
    session.set_box(o.object_id, 6, KEYS[1].box)
    changed = session.set_box(o.object_id, 6, KEYS[0].box)
    assert (changed.box.z_min, changed.box.z_max) == (3, 7)
    assert [key.slice_index for key in changed.keys] == [3, 6]
    with pytest.raises(InvalidBox, match="lies outside"):
        session.set_box(o.object_id, 8, KEYS[0].box)


def test_two_key_boxes_on_one_slice_are_refused(session):
    o = session.add_object(Box3D.on_slice(3, KEYS[0].box))
    with pytest.raises(InvalidBox, match="only one on a slice"):
        session.change_object(o.object_id, keys=(KEYS[0], KEYS[0]))


def test_one_slice_is_segmented_again_after_its_box_changed(session):
    o = session.add_object(Box3D(2, 2, 0, 10, 10, 8))
    run(session.segment())
    before = session.labels.copy()
    session.set_box(o.object_id, 4, Box2D(2, 2, 20, 20))
    run(session.iter_segment([1], slice_index=4, join=True))
    changed = np.flatnonzero((session.labels != before).any((1, 2)))
    assert list(changed) == [4]
    session.undo()  # box and mask are one step
    assert np.array_equal(session.labels, before)
    assert session.objects[1] == o
    session.redo()
    assert box_of(session.labels[4] == 1) == Box2D(2, 2, 20, 20)


def test_fifty_steps_and_more_are_undone_and_redone(session):
    session.add_object(Box3D.on_slice(0, Box2D(0, 0, 4, 4)))
    states = []
    for step in range(30):
        session.set_box(1, step % 8, Box2D(0, 0, 4 + step % 20, 5))
        states.append((dict(session.objects), session.labels.copy()))
        run(session.segment(slice_index=step % 8))
        states.append((dict(session.objects), session.labels.copy()))
    for objects, labels in states[-2::-1]:
        session.undo()
        assert session.objects == objects
        assert np.array_equal(session.labels, labels)
    for objects, labels in states[1:]:
        session.redo()
        assert session.objects == objects
        assert np.array_equal(session.labels, labels)


def test_undo_brings_a_removed_object_back(session):
    session.add_object(Box3D(2, 2, 0, 10, 10, 3), name="first")
    session.add_object(Box3D(2, 2, 0, 10, 10, 3), name="second")
    run(session.segment([1]))
    painted = session.labels.copy()
    session.remove_object(1, erase=True)
    assert not session.labels.any()
    session.undo()
    assert [o.name for o in session.objects.values()] == ["first", "second"]
    assert np.array_equal(session.labels, painted)


def test_locked_objects_are_never_overwritten_nor_segmented(session):
    session.add_object(Box3D(2, 2, 0, 10, 10, 4))
    session.add_object(Box3D(6, 6, 0, 20, 20, 4))
    run(session.segment([1]))
    locked = session.labels == 1
    session.change_object(1, is_locked=True)
    run(session.segment())
    assert np.array_equal(session.labels == 1, locked)
    assert (session.labels == 2).any()
    with pytest.raises(InvalidSettings, match="Locked: 'object 1'"):
        session.segment([1])
    for change in (
        lambda: session.set_box(1, 0, Box2D(0, 0, 5, 5)),
        lambda: session.change_object(1, box=Box3D(0, 0, 0, 5, 5, 1)),
        lambda: session.remove_object(1, erase=True),
    ):
        with pytest.raises(InvalidSettings, match="'object 1' is locked"):
            change()
    session.change_object(1, name="liver", is_visible=False)
    session.change_object(1, is_locked=False)
    session.remove_object(1, erase=True)
    assert not (session.labels == 1).any()


def test_points_reach_the_model_on_their_slice_in_its_coordinates(session):
    class Recorder(type(session.segmenter.backend)):
        given = None

        def decode(self, image_embedding, boxes, points=None):
            Recorder.given = points
            return super().decode(image_embedding, boxes)

    session.segmenter = SliceSegmenter(Recorder())
    session.add_object(Box3D(2, 2, 0, 10, 10, 4))
    session.change_object(1, points=(Point(1, 4, 5), Point(1, 6, 7, False)))
    run(session.segment(slice_index=1))
    positions, labels = Recorder.given
    np.testing.assert_array_equal(positions, [[(4, 5), (6, 7)]])
    np.testing.assert_array_equal(labels, [[1, 0]])
    run(session.segment(slice_index=2))
    assert Recorder.given is None


def test_objects_with_different_numbers_of_points_are_not_padded(session):
    counts = []

    class Recorder(type(session.segmenter.backend)):
        def decode(self, image_embedding, boxes, points=None):
            counts.append((len(boxes), 0 if points is None else points[0].shape[1]))
            return super().decode(image_embedding, boxes)

    session.segmenter = SliceSegmenter(Recorder())
    for number in range(4):
        session.add_object(Box3D(2 + number, 2, 0, 10 + number, 10, 1))
    session.change_object(2, points=(Point(0, 4, 5),))
    session.change_object(4, points=(Point(0, 4, 5), Point(0, 5, 5)))
    run(session.segment())
    assert counts == [(2, 0), (1, 1), (1, 2)]
    assert box_of(session.labels[0] == 4) == Box2D(5, 2, 13, 10)


@pytest.mark.parametrize("axis", [1, 2])
def test_slices_across_another_axis_are_painted_on_the_own_grid(backend, axis):
    array = np.full((32, 32, 32), 200, np.uint8)
    # No two slices along any axis are alike, and every one has black and bright.
    array[:, 0, :], array[0], array[:, :, 0] = 0, 0, 0
    index = np.arange(32)
    array[index, 31, index] = array[index, index, 31] = array[31, index, index] = 60
    session = Session(Volume(array), SliceSegmenter(backend), FULL)
    box = Box3D(4, 6, 10, 12, 20, 13)  # columns, rows, slices along the axis
    session.add_object(box, axis=axis)
    assert run(session.segment()) == [(axis, 10), (axis, 11), (axis, 12)]
    expected = np.zeros(array.shape, bool)
    if axis == 1:
        expected[6:20, 10:13, 4:12] = True
    else:
        expected[6:20, 4:12, 10:13] = True
    assert np.array_equal(session.labels == 1, expected)
    session.undo()
    assert not session.labels.any()
    session.redo()
    assert np.array_equal(session.labels == 1, expected)


def test_objects_across_several_axes_are_one_run_and_one_step(backend):
    rng = np.random.default_rng(0)
    array = rng.integers(150, 250, (32, 32, 32)).astype(np.uint8)
    array[:, 0, :], array[0], array[:, :, 0] = 0, 0, 0
    session = Session(Volume(array), SliceSegmenter(backend), FULL)
    session.add_object(Box3D(4, 4, 10, 12, 12, 12), axis=2)
    session.add_object(Box3D(20, 20, 10, 28, 28, 13), axis=0)
    visits = []
    for update in session.iter_segment():
        visits.append((update.axis, update.done, update.total))
    assert visits == [(0, i, 5) for i in (1, 2, 3)] + [(2, i, 5) for i in (4, 5)]
    assert set(np.unique(session.labels)) == {0, 1, 2}
    session.undo()
    assert not session.labels.any()


def test_a_slice_of_one_axis_leaves_boxes_of_another_out(session):
    session.add_object(Box3D(4, 2, 10, 12, 7, 13), axis=1)
    with pytest.raises(InvalidSettings, match="no box on slice 5"):
        session.prompts(slice_index=5)
    assert session.prompts(slice_index=11, axis=1)[0].box.z_min == 11
    with pytest.raises(InvalidBox, match="outside the volume of 32 slices"):
        session.add_object(Box3D(4, 2, 40, 12, 7, 43), axis=1)


def disc(x, y, radius):
    rows, columns = np.mgrid[:32, :32]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


@pytest.mark.parametrize(
    "way",
    [
        [disc(8 + 15 * np.sin(np.pi * z / 15), 8 + z, 5.5) for z in range(16)],
        [
            disc(15 - s, 14, 5) | disc(15 + s, 14, 5)
            for s in (*range(8), *range(7, -1, -1))
        ],
    ],
    ids=["bends", "splits and joins"],
)
def test_an_object_is_followed_between_two_key_boxes(backend, bright_volume, way):
    truth = np.stack(way)
    keys = tuple(KeyBox(z, Box2D.enclosing(truth[z])) for z in (0, 15))
    session = Session(bright_volume(truth), SliceSegmenter(backend), Window(0, 255))
    session.add_object(Box3D(0, 0, 0, 32, 32, 16), keys=keys)
    done = session.segment()
    assert str(done).startswith("16 slices segmented in ")
    updates = list(done)
    both = (truth & (session.labels == 1)).sum(axis=(1, 2))
    found = (session.labels == 1).sum(axis=(1, 2))
    assert (2 * both / (found + truth.sum(axis=(1, 2)))).min() > 0.9
    assert len(backend.encoded) == 16
    assert [u.slice_index for u in updates if u.found] == list(range(16))
    # A way down sees each slice first; one up goes along with the masks.
    assert len(updates) == 3 * 16
    assert [(u.done, u.total) for u in updates if u.found] == [
        (z + 1, 16) for z in range(16)
    ]


def test_slices_said_to_be_without_the_object_are_empty_between_keys(
    backend, bright_volume
):
    truth = np.stack([disc(14, 16, 8 if z < 5 or z > 8 else 0) for z in range(14)])
    keys = tuple(KeyBox(z, Box2D.enclosing(truth[z])) for z in (0, 13))
    session = Session(bright_volume(truth), SliceSegmenter(backend), Window(0, 255))
    session.add_object(Box3D(0, 0, 0, 32, 32, 14), keys=keys)
    session.change_object(1, absences=tuple(Absence(z) for z in range(5, 9)))
    session.segment()
    there = (session.labels == 1).any(axis=(1, 2))
    assert np.array_equal(there, truth.any(axis=(1, 2)))
