"""Thousands of actions in any order: labels and objects are those of a replay."""

import os

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from napari_qmedsam.errors import QMedSAMError
from napari_qmedsam.prompts import Box2D, Box3D, Point
from napari_qmedsam.segmentation.annotation import Annotation
from napari_qmedsam.segmentation.painting import Painter
from napari_qmedsam.segmentation.tracking import SliceUpdate
from napari_qmedsam.volumes.volume import Volume

SHAPE = (4, 10, 12)
RUNS = int(os.environ.get("QMEDSAM_MACHINE_RUNS", "5"))
"""Sequences of 40 actions; scripts/load.py asks for 250, which are 10,000."""

indices = st.integers(0, 40)
sides = st.tuples(
    st.integers(-2, 11), st.integers(-2, 9), st.integers(1, 6), st.integers(1, 6)
)


def flat_box(sides) -> Box2D:
    x, y, width, height = sides
    return Box2D(x, y, x + width, y + height)


class SessionMachine(RuleBasedStateMachine):
    """A session, and beside it every state it has been in, whole."""

    def __init__(self):
        super().__init__()
        self.session = Annotation(Volume(np.zeros(SHAPE, np.uint8)))
        self.states, self.place = [self.now()], 0

    def now(self):
        objects = {i: o.prompt for i, o in self.session.objects.items()}
        return objects, self.session.labels.copy()

    def did(self):
        """Note a new state, if the action was one; what was undone is gone."""
        objects, labels = self.now()
        last = self.states[self.place]
        if objects != last[0] or not np.array_equal(labels, last[1]):
            del self.states[self.place + 1 :]
            self.states.append((objects, labels))
            self.place += 1

    def some(self, index):
        ids = list(self.session.objects)
        return ids[index % len(ids)]

    @rule(sides=sides, z=st.integers(0, 3), depth=st.integers(1, 4))
    def add(self, sides, z, depth):
        flat = flat_box(sides)
        box = Box3D(flat.x_min, flat.y_min, z, flat.x_max, flat.y_max, z + depth)
        try:
            self.session.add_object(box)
        except QMedSAMError:
            assert self.now()[0] == self.states[self.place][0]
        self.did()

    @precondition(lambda self: self.session.objects)
    @rule(index=indices, sides=sides, z=st.integers(0, 3))
    def set_box(self, index, sides, z):
        try:
            self.session.set_box(self.some(index), z, flat_box(sides))
        except QMedSAMError:
            assert self.now()[0] == self.states[self.place][0]
        self.did()

    @precondition(lambda self: self.session.objects)
    @rule(index=indices, x=st.integers(0, 11), z=st.integers(0, 3))
    def set_point(self, index, x, z):
        object_id = self.some(index)
        points = (*self.session.objects[object_id].points, Point(z, x, 2))
        self.session.change_object(object_id, points=points)
        self.did()

    @precondition(lambda self: self.session.objects)
    @rule(index=indices, name=st.sampled_from(["liver", "[b]", ""]), seen=st.booleans())
    def rename(self, index, name, seen):
        # How an object is shown is no step of undo.
        self.session.change_object(self.some(index), name=name, is_visible=seen)
        self.did()

    @precondition(lambda self: self.session.objects)
    @rule(index=indices, erase=st.booleans())
    def remove(self, index, erase):
        self.session.remove_object(self.some(index), erase)
        self.did()

    @precondition(lambda self: self.session.objects)
    @rule(index=indices, sides=sides, z=st.integers(0, 3), axis=st.integers(0, 2))
    def paint(self, index, sides, z, axis):
        labels = self.session.labels
        rows, columns = np.moveaxis(labels, axis, 0).shape[1:]
        mask = np.zeros((rows, columns), bool)
        x, y, width, height = (max(0, side) for side in sides)
        mask[y : y + height, x : x + width] = True
        update = SliceUpdate(z, ((0, mask),), 1, 1, axis)
        painter = Painter(labels, protect_existing=bool(index % 2))
        painter.paint(update, [self.some(index)])
        self.session.history.record(labels, painter.before)
        self.did()

    @rule()
    def undo(self):
        self.session.undo()
        self.place = max(self.place - 1, 0)

    @rule()
    def redo(self):
        self.session.redo()
        self.place = min(self.place + 1, len(self.states) - 1)

    @rule(index=indices)
    def restore(self, index):
        objects, labels = dict(self.session.objects), self.states[0][1].copy()
        kept = list(objects.values())[: index % 3]
        self.session.restore(kept, labels)
        self.did()

    @invariant()
    def is_what_a_replay_gives(self):
        objects, labels = self.now()
        expected = self.states[self.place]
        assert objects == expected[0]
        np.testing.assert_array_equal(labels, expected[1])

    def teardown(self):
        """Go all the way back and forward again."""
        while self.session.history.can_undo:
            self.undo()
            self.is_what_a_replay_gives()
        assert self.place == 0
        while self.session.history.can_redo:
            self.redo()
            self.is_what_a_replay_gives()


TestSession = SessionMachine.TestCase
TestSession.settings = settings(
    max_examples=RUNS,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
