"""Two threads on one session: what may go on, and what waits."""

import threading

import numpy as np
import pytest

from napari_qmedsam import Session
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


@pytest.fixture
def session(backend):
    array = np.full((12, 32, 32), 200, np.uint8)
    array[:, -1, -1] = 20
    array[np.arange(12), -1, np.arange(12)] = 60
    made = Session(Volume(array), SliceSegmenter(backend), Window(0, 255))
    made.add_object(Box3D(2, 2, 0, 14, 14, 12), object_id=1)
    return made


class Run:
    """A run in a thread that waits after each slice until it is told to go on."""

    def __init__(self, session):
        self.updates = session.iter_segment([1])
        self.painted, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()
        assert self.painted.acquire(timeout=30)

    def _work(self):
        for _ in self.updates:
            self.painted.release()
            self.go.acquire(timeout=30)

    def step(self):
        self.go.release()
        assert self.painted.acquire(timeout=30)

    def end(self):
        self.go.release(100)
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_objects_may_change_while_a_run_paints(session):
    run = Run(session)
    session.add_object(Box3D(16, 16, 0, 20, 20, 12), object_id=2)
    session.set_box(2, 3, Box2D(17, 17, 22, 22))
    run.step()
    session.change_object(2, name="spleen", is_locked=True)
    run.end()
    assert (session.labels[:, 2:14, 2:14] == 1).all()
    # The run, the key box and the new object, each a step of its own. The run was
    # recorded last, and goes first.
    assert len(session.history) == 4
    session.change_object(2, is_locked=False)
    session.undo()
    assert not session.labels.any()
    assert session.objects[2].keys
    session.undo()
    assert not session.objects[2].keys
    session.undo()
    assert list(session.objects) == [1]
    for _ in range(3):
        session.redo()
    assert (session.labels[:, 2:14, 2:14] == 1).all()
    assert session.objects[2].keys


def test_what_would_undo_a_run_under_way_waits_for_its_end(session):
    run = Run(session)
    empty = np.zeros(session.volume.shape, np.uint16)
    for action in (
        session.undo,
        session.redo,
        lambda: session.restore([], empty),
        lambda: session.segment([1]),
        lambda: session.propagate(0),
    ):
        with pytest.raises(InvalidSettings, match="under way"):
            action()
    run.end()
    session.undo()
    assert not session.labels.any()


def test_a_run_that_failed_holds_nothing_up(session, monkeypatch):
    def fails(*rest):
        raise RuntimeError("the model fails")

    monkeypatch.setattr(session.segmenter.backend, "decode", fails)
    worker = threading.Thread(
        target=lambda: pytest.raises(RuntimeError, session.segment)
    )
    worker.start()
    worker.join(30)
    session.undo()
    assert session.objects == {}


def test_many_boxes_from_two_threads_are_all_recorded(session):
    def draw(first):
        for i in range(100):
            session.add_object(
                Box3D(i % 30, 0, 0, i % 30 + 2, 9, 1), object_id=first + i
            )

    threads = [threading.Thread(target=draw, args=(first,)) for first in (100, 300)]
    run = Run(session)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    run.end()
    assert len(session.objects) == 201
    # 202 steps, of which the latest 100 are kept.
    steps = len(session.history)
    for _ in range(steps):
        session.undo()
    assert len(session.objects) == 201 - (steps - 1)
    for _ in range(steps):
        session.redo()
    assert len(session.objects) == 201
