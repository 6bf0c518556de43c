"""The session a user works in: objects, labels, undo, cancelling."""

import itertools

import numpy as np
import pytest

from napari_qmedsam import Session
from napari_qmedsam.cancelling import cancellable
from napari_qmedsam.errors import Cancelled, GridMismatch, InvalidBox, InvalidSettings
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.segmentation.propagation import Follow
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes import read_labels
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

FULL = Window(0, 255)
BOXES = (Box3D(2, 2, 0, 14, 14, 5), Box3D(8, 8, 1, 22, 22, 6))


def inside(box: Box3D, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[box.z_min : box.z_max, box.y_min : box.y_max, box.x_min : box.x_max] = True
    return mask


@pytest.fixture
def session(backend, bright_volume):
    """Two overlapping objects in a volume that is bright in both."""
    shape = (6, 32, 32)
    volume = bright_volume(inside(BOXES[0], shape) | inside(BOXES[1], shape))
    made = Session(volume, SliceSegmenter(backend), FULL)
    for box in BOXES:
        made.add_object(box)
    return made


def run(updates) -> list[int]:
    return [update.slice_index for update in updates]


def overlapped(*ids_and_boxes, shape=(6, 32, 32)) -> np.ndarray:
    labels = np.zeros(shape, np.uint16)
    for object_id, box in ids_and_boxes:
        labels[inside(box, shape)] = object_id
    return labels


def test_the_later_object_wins_where_two_overlap(session):
    run(session.segment())
    assert np.array_equal(session.labels, overlapped((1, BOXES[0]), (2, BOXES[1])))


def test_the_order_asked_for_is_the_order_of_painting(session):
    run(session.segment([2, 1]))
    assert np.array_equal(session.labels, overlapped((2, BOXES[1]), (1, BOXES[0])))


@pytest.mark.parametrize("way", Follow)
def test_segmenting_again_changes_nothing(session, way):
    run(session.segment(follow=way))
    labels = session.labels.copy()
    run(session.segment(follow=way))
    assert np.array_equal(session.labels, labels)
    session.undo()
    assert not session.labels.any()  # the second run was no step
    assert len(session.segmenter.backend.encoded) == 6


@pytest.mark.parametrize("way", Follow)
@pytest.mark.parametrize("ids", [[1, 2], [2, 1]])
def test_earlier_labels_have_no_say_in_the_result(session, way, ids):
    run(session.segment(ids, follow=way))
    fresh = session.labels.copy()
    session.undo()
    rng = np.random.default_rng(0)
    for z_range in (slice(0, 5), slice(1, 6)):  # anywhere in the objects' slices
        object_id = 1 if z_range.start == 0 else 2
        old = rng.random(session.labels[z_range].shape) < 0.3
        session.labels[z_range][old] = object_id
    session.labels[5][session.labels[5] == 1] = 0
    session.labels[0][session.labels[0] == 2] = 0
    run(session.segment(ids, follow=way))
    assert np.array_equal(session.labels, fresh)


def test_an_object_that_now_ends_earlier_leaves_nothing_beyond_its_end(
    new_backend, bright_volume
):
    box = Box3D(4, 4, 0, 12, 12, 5)
    truth = inside(box, (5, 32, 32))
    truth[3] = False
    session = Session(bright_volume(truth), SliceSegmenter(new_backend()), FULL)
    session.add_object(box)
    run(session.segment(follow=Follow.BOX))
    assert session.labels[4].any()
    run(session.segment(follow=Follow.MASK))
    assert np.array_equal(np.unique(np.nonzero(session.labels)[0]), [0, 1, 2])


def test_one_object_may_be_segmented_alone(session):
    run(session.segment([2]))
    assert np.array_equal(session.labels, overlapped((2, BOXES[1])))
    run(session.segment([1]))
    assert np.array_equal(session.labels, overlapped((2, BOXES[1]), (1, BOXES[0])))


def test_previous_labels_can_be_protected(session):
    run(session.segment([2]))
    run(session.segment([1], protect_existing=True))
    assert np.array_equal(session.labels, overlapped((1, BOXES[0]), (2, BOXES[1])))


def test_protection_covers_hand_painted_labels_of_no_object(session):
    session.labels[2, 4:6, 4:6] = 99
    run(session.segment(protect_existing=True))
    assert (session.labels[2, 4:6, 4:6] == 99).all()
    run(session.segment())
    assert (session.labels[2, 4:6, 4:6] == 1).all()


def test_one_slice_gets_only_the_objects_that_reach_it(session):
    assert run(session.segment(slice_index=5)) == [5]
    assert np.array_equal(session.labels[5], overlapped((2, BOXES[1]))[5])
    assert not session.labels[:5].any()


def test_called_it_works_and_tells_what_it_did(session):
    seen = []
    done = session.segment(progress=lambda *visits: seen.append(visits))
    assert np.array_equal(session.labels, overlapped((1, BOXES[0]), (2, BOXES[1])))
    assert [update.slice_index for update in done] == list(range(6))
    assert seen == [(visit, 6) for visit in range(1, 7)]
    assert str(done).startswith("6 slices segmented in ")
    assert done.milliseconds_per_slice == pytest.approx(1000 * done.seconds / 6)
    session.undo()
    assert not session.labels.any()


def test_a_box_and_its_mask_may_be_one_step(session):
    session.segment()
    before = session.labels.copy()
    with session.history.step():
        session.change_object(1, box=Box3D(2, 2, 0, 9, 9, 5))
        session.segment([1])
    assert not np.array_equal(session.labels, before)
    session.undo()
    assert np.array_equal(session.labels, before)
    assert session.objects[1].box == BOXES[0]


def test_labels_grow_slice_by_slice(session):
    expected = overlapped((1, BOXES[0]), (2, BOXES[1]))
    updates = session.iter_segment()
    for z in range(6):
        assert next(updates).slice_index == z
        assert np.array_equal(session.labels[: z + 1], expected[: z + 1])
        assert not session.labels[z + 1 :].any()


# Cancelling and undo -------------------------------------------------------


@pytest.mark.parametrize("way", Follow)
@pytest.mark.parametrize("visits", [1, 3, 7])
def test_cancelling_keeps_whole_slices_and_is_one_step_of_undo(session, way, visits):
    rng = np.random.default_rng(1)
    session.labels[:] = rng.integers(0, 3, session.labels.shape)
    start, steps = session.labels.copy(), len(session.history)
    updates = session.iter_segment(follow=way)
    seen = {u.slice_index for u in itertools.islice(updates, visits)}
    updates.close()
    untouched = [z for z in range(6) if z not in seen]
    assert np.array_equal(session.labels[untouched], start[untouched])
    assert not np.array_equal(session.labels, start)
    stopped = session.labels.copy()
    assert set(session.undo()) == seen
    assert np.array_equal(session.labels, start)
    assert len(session.history) == steps
    session.redo()
    assert np.array_equal(session.labels, stopped)


def test_a_call_is_cancelled_between_slices_and_keeps_what_is_done(session):
    done = []
    with cancellable(lambda: len(done) == 3), pytest.raises(Cancelled):
        session.segment(progress=lambda *visit: done.append(visit))
    assert done == [(1, 6), (2, 6), (3, 6)]
    assert session.labels[:3].any(axis=(1, 2)).all()
    assert not session.labels[3:].any()
    assert session.undo() == (0, 1, 2)


def test_cancelling_before_the_first_slice_is_no_step(session):
    steps = len(session.history)
    session.iter_segment().close()
    assert len(session.history) == steps


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_cancelling_releases_what_was_held(session, memory):
    store = session.segmenter.store = EmbeddingStore(memory)
    updates = session.iter_segment(follow=Follow.MASK)
    for _ in range(4):
        next(updates)
    assert store._held
    updates.close()
    assert not store._held


def test_an_error_half_way_keeps_the_slices_so_far_as_one_step(session, monkeypatch):
    backend = session.segmenter.backend
    encode, calls = backend.encode, itertools.count()

    def failing(model_input):
        if next(calls) == 3:
            raise RuntimeError("out of memory")
        return encode(model_input)

    monkeypatch.setattr(backend, "encode", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(session.segment())
    assert session.labels[:3].any(axis=(1, 2)).all()
    assert not session.labels[3:].any()
    assert session.undo() == (0, 1, 2)
    assert not session.labels.any()


def test_several_steps_go_back_and_forward(session):
    states = [session.labels.copy()]
    for object_id in (1, 2):
        run(session.segment([object_id]))
        states.append(session.labels.copy())
    session.remove_object(1, erase=True)
    states.append(session.labels.copy())
    assert not (states[-1] == 1).any()
    for state in reversed(states[:-1]):
        session.undo()
        assert np.array_equal(session.labels, state)
    for state in states[1:]:
        session.redo()
        assert np.array_equal(session.labels, state)


# Labels --------------------------------------------------------------------


def test_labels_may_be_shared_with_a_viewer(session):
    shared = np.zeros((6, 32, 32), np.int32)
    session.share_labels(shared)
    run(session.segment())
    assert np.array_equal(shared, overlapped((1, BOXES[0]), (2, BOXES[1])))


def test_the_history_of_other_labels_is_forgotten(session):
    run(session.segment([1]))
    session.share_labels(session.labels[:])  # the same voxels
    assert session.history.can_undo
    session.share_labels(np.zeros((6, 32, 32), np.uint16))
    assert not session.history.can_undo


def test_labels_exchanged_during_a_run_are_left_alone(session):
    updates = session.iter_segment()
    next(updates)
    other = np.zeros((6, 32, 32), np.uint16)
    session.share_labels(other)
    run(updates)
    assert not other.any()
    assert not session.history.can_undo


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((6, 32, 31), np.uint16), r"\(6, 32, 31\) do not fit"),
        (np.zeros((6, 32, 32), np.float32), "integers, not float32"),
        (np.zeros((6, 32, 32), bool), "integers, not bool"),
    ],
)
def test_labels_that_do_not_fit_are_refused(session, labels, message):
    with pytest.raises(GridMismatch, match=message):
        session.share_labels(labels)
    with pytest.raises(GridMismatch, match=message):
        Session(session.volume, labels=labels)


def test_saved_labels_are_read_back(session, tmp_path):
    run(session.segment())
    path = session.save_labels(tmp_path / "labels.nii.gz")
    assert np.array_equal(read_labels(path).array, session.labels)


# Objects -------------------------------------------------------------------


def test_ids_count_on_from_objects_and_labels(session):
    session.labels[0, 0, 0] = 7
    added = session.add_object(BOXES[0], name="liver")
    assert (added.object_id, added.name) == (8, "liver")
    assert session.add_object(BOXES[0], object_id=5).name == "object 5"


@pytest.mark.parametrize(
    ("box", "object_id", "message"),
    [
        (BOXES[0], 2, "already an object 2"),
        (BOXES[0], 0, r"0 must lie in 1\.\.65535"),
        (BOXES[0], 70000, r"70000 must lie in 1\.\.65535"),
        (Box3D(40, 0, 0, 50, 5, 2), None, "outside the slice"),
        (Box3D(0, 0, 6, 5, 5, 8), None, "outside the volume of 6 slices"),
    ],
)
def test_objects_that_cannot_be_are_refused(session, box, object_id, message):
    with pytest.raises(InvalidBox, match=message):
        session.add_object(box, object_id=object_id)
    assert list(session.objects) == [1, 2]


def test_boxes_of_objects_are_cut_to_the_volume(session):
    added = session.add_object(Box3D(-3, -3, -3, 99, 99, 99))
    assert added.box == Box3D(0, 0, 0, 32, 32, 6)
    changed = session.change_object(1, box=Box3D(-1, 0, 0, 5, 5, 9), name="spleen")
    assert changed.box == Box3D(0, 0, 0, 5, 5, 6)
    assert session.objects[1].name == "spleen"


def test_a_removed_object_keeps_its_voxels_unless_erased(session):
    run(session.segment())
    before = session.labels.copy()
    session.remove_object(1)
    assert np.array_equal(session.labels, before)
    session.remove_object(2, erase=True)
    assert not (session.labels == 2).any()
    assert session.objects == {}


def test_objects_that_are_not_there_are_named(session):
    for call in (
        lambda: session.change_object(9, name="x"),
        lambda: session.remove_object(9),
        lambda: session.segment([1, 9]),
    ):
        with pytest.raises(InvalidBox, match="no object 9"):
            call()


def test_an_object_asked_for_twice_is_segmented_once(session):
    assert [p.object_id for p in session.prompts([2, 1, 2])] == [2, 1]


# What segmenting needs -----------------------------------------------------


def test_without_boxes_there_is_nothing_to_segment(session):
    empty = Session(session.volume, session.segmenter)
    with pytest.raises(InvalidSettings, match="no box to segment. Draw one"):
        empty.segment()
    with pytest.raises(InvalidSettings, match="no box on slice 5 to segment"):
        session.segment([1], slice_index=5)


def test_without_a_model_nothing_is_segmented(session):
    session.segmenter = None
    with pytest.raises(InvalidSettings, match="has no model"):
        session.segment()


def test_errors_come_at_once_and_not_with_the_first_slice(session):
    session.segmenter = None
    with pytest.raises(InvalidSettings):
        session.segment()  # nobody asks for a slice


def test_the_volumes_own_window_is_the_default():
    volume = Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    assert Session(volume).window == volume.default_window()


@pytest.fixture
def volume():
    return Volume(np.zeros((4, 8, 8), np.uint8))


def test_undo_leaves_names_visibility_and_locks_alone(volume):
    session = Session(volume)
    made = session.add_object(Box3D(1, 1, 0, 6, 6, 2))
    number = made.object_id
    session.change_object(number, box=Box3D(2, 2, 0, 6, 6, 2))
    session.change_object(number, name="liver", is_visible=False)
    session.undo()
    now = session.objects[number]
    assert (now.box.x_min, now.name, now.is_visible) == (1, "liver", False)
    session.undo()
    assert not session.objects
    session.redo()
    assert session.objects[number].name == "liver"
    session.change_object(number, name="spleen")
    session.remove_object(number)
    session.undo()
    assert session.objects[number].name == "spleen"


def test_changes_of_locked_objects_are_not_taken_back(volume):
    session = Session(volume)
    number = session.add_object(Box3D(1, 1, 0, 6, 6, 2)).object_id
    before = {(0, 0): session.labels[0].copy()}
    session.labels[0, 2:4, 2:4] = number
    session.history.record(session.labels, before)
    session.change_object(number, is_locked=True)
    with pytest.raises(InvalidSettings, match="Locked: 'object 1'"):
        session.undo()
    assert session.labels[0, 2, 2] == number
    session.change_object(number, is_locked=False)
    session.undo()
    session.change_object(number, is_locked=True)
    with pytest.raises(InvalidSettings, match="Locked: 'object 1'"):
        session.redo()


def test_restoring_is_one_step_of_undo(volume):
    session = Session(volume)
    session.add_object(Box3D(1, 1, 0, 6, 6, 2), "old")
    labels = np.zeros(volume.shape, np.uint8)
    labels[0, :2] = 3
    session.restore([SegmentObject(3, Box3D(0, 0, 0, 4, 4, 1), "new")], labels)
    assert [o.name for o in session.objects.values()] == ["new"]
    assert session.labels.max() == 3
    session.undo()
    assert [o.name for o in session.objects.values()] == ["old"]
    assert not session.labels.any()
    with pytest.raises(GridMismatch):
        session.restore([], labels[:, :2])
    with pytest.raises(GridMismatch):
        session.restore([], np.full(volume.shape, 70_000))
