"""Undo and redo give back exactly what was."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.history import History
from napari_qmedsam.segmentation.objects import SegmentObject

SHAPE = (3, 4, 5)

edits = st.lists(
    st.dictionaries(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)),
        st.integers(0, 3),
        min_size=1,
        max_size=8,
    ),
    max_size=12,
)
"""Actions, each a few voxels and their new values."""


def perform(labels, history, edit):
    before = {(0, z): labels[z].copy() for z in {place[0] for place in edit}}
    for place, value in edit.items():
        labels[place] = value
    history.record(labels, before)


@settings(max_examples=50)
@given(edits)
def test_undo_of_all_returns_the_start_and_redo_of_all_the_end(actions):
    labels, history = np.zeros(SHAPE, np.uint16), History()
    states = [labels.copy()]
    for edit in actions:
        perform(labels, history, edit)
        if not np.array_equal(labels, states[-1]):
            states.append(labels.copy())
    for state in reversed(states[:-1]):
        assert history.can_undo
        history.undo(labels)
        assert np.array_equal(labels, state)
    assert not history.can_undo
    for state in states[1:]:
        assert history.can_redo
        history.redo(labels)
        assert np.array_equal(labels, state)
    assert not history.can_redo


@settings(max_examples=50)
@given(edits, st.integers(0, 4))
def test_no_more_steps_are_kept_than_the_limit(actions, limit):
    labels, history = np.zeros(SHAPE, np.uint16), History(limit)
    states = [labels.copy()]
    for edit in actions:
        perform(labels, history, edit)
        if not np.array_equal(labels, states[-1]):
            states.append(labels.copy())
    steps = 0
    while history.can_undo:
        history.undo(labels)
        steps += 1
    assert steps == min(limit, len(states) - 1)
    assert np.array_equal(labels, states[len(states) - 1 - steps])


def test_steps_tell_the_slices_they_touched():
    labels, history = np.zeros(SHAPE, np.uint16), History()
    perform(labels, history, {(2, 0, 0): 1, (0, 1, 1): 2})
    assert history.undo(labels) == (0, 2)
    assert history.redo(labels) == (0, 2)


def test_an_action_that_changes_nothing_is_no_step():
    labels, history = np.ones(SHAPE, np.uint16), History()
    perform(labels, history, {(0, 0, 0): 1})
    history.record(labels, {})
    assert not history.can_undo


def test_a_new_action_forgets_what_was_undone():
    labels, history = np.zeros(SHAPE, np.uint16), History()
    perform(labels, history, {(0, 0, 0): 1})
    history.undo(labels)
    perform(labels, history, {(0, 0, 1): 2})
    assert not history.can_redo
    assert history.redo(labels) == ()
    assert labels[0, 0, 1] == 2


def test_without_steps_nothing_happens():
    labels, history = np.ones(SHAPE, np.uint16), History()
    assert history.undo(labels) == history.redo(labels) == ()
    assert labels.all()


def test_clear_forgets_both_ways():
    labels, history = np.zeros(SHAPE, np.uint16), History()
    perform(labels, history, {(0, 0, 0): 1})
    perform(labels, history, {(0, 0, 0): 2})
    history.undo(labels)
    history.clear()
    assert not history.can_undo
    assert not history.can_redo


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint32])
def test_labels_that_do_not_lie_in_one_piece_are_restored(dtype):
    whole = np.zeros((4, 8, 10), dtype)
    labels, history = whole[::2, ::2, 1::2], History()
    perform(labels, history, {(1, 2, 3): 7})
    assert whole[2, 4, 7] == 7
    history.undo(labels)
    assert not whole.any()


# Blocks --------------------------------------------------------------------

ONE = SegmentObject(1, Box3D(0, 0, 0, 2, 2, 2), "one")


def test_a_block_is_one_step_however_deep_and_mixed():
    labels, history, objects = np.zeros(SHAPE, np.uint16), History(), {}
    with history.step():
        perform(labels, history, {(0, 0, 0): 1})
        with history.step():
            perform(labels, history, {(0, 0, 0): 2, (2, 0, 0): 1})
        objects[1] = ONE
        history.record_objects({}, objects)
    assert len(history) == 1
    assert history.undo(labels, objects) == (0, 2)
    assert not labels.any()
    assert not objects
    history.redo(labels, objects)
    assert (labels[0, 0, 0], labels[2, 0, 0], objects) == (2, 1, {1: ONE})


def test_a_block_that_changes_nothing_is_no_step_and_one_that_fails_is_whole():
    labels, history = np.zeros(SHAPE, np.uint16), History()
    with history.step():
        pass
    assert not history.can_undo

    def fail_half_way():
        with history.step():
            perform(labels, history, {(0, 0, 0): 1})
            perform(labels, history, {(0, 0, 1): 1})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    perform(labels, history, {(1, 0, 0): 1})  # a step of its own again
    assert len(history) == 2
    history.undo(labels)
    history.undo(labels)
    assert not labels.any()


def test_a_step_is_gone_on_with_only_while_it_is_there():
    labels, history = np.zeros(SHAPE, np.uint16), History()
    history.record_objects({}, {1: ONE})
    first = history.last
    history.record_objects({1: ONE}, {})
    with history.step(first):
        perform(labels, history, {(0, 0, 0): 1})
    assert len(history) == 2
    assert first.object_ids == {1}
    assert not first.is_of_objects
    history.undo(labels)
    history.undo(labels)
    assert not labels.any()
    with history.step(first):  # it was undone, so this is another
        perform(labels, history, {(0, 0, 0): 1})
    assert history.last is not first
    assert len(history) == 1


def test_what_another_thread_records_meanwhile_is_its_own_step():
    labels, history = np.zeros(SHAPE, np.uint16), History()
    with history.step():
        perform(labels, history, {(0, 0, 0): 1})
        other = threading.Thread(target=perform, args=(labels, history, {(1, 0, 0): 1}))
        other.start()
        other.join()
        perform(labels, history, {(0, 0, 1): 1})
    assert len(history) == 2
    history.undo(labels)
    assert labels[0].any()
    assert not labels[1].any()
