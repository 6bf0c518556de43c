"""The scan in hand is encoded while nothing else happens, and gives way at once."""

import gc
import threading
import weakref

import numpy as np
import pytest

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.gui.segment import background_encoding
from napari_qmedsam.prompts import Box2D

FIRST = Box2D(5, 10, 25, 20)


@pytest.fixture
def nothing_ahead(monkeypatch):
    """Slices are encoded ahead here, and soon."""
    monkeypatch.setattr(background_encoding, "START_MS", 1)


def test_all_slices_are_encoded_and_their_first_box_is_not_waited_for(
    panel, backend, segment_box, qtbot
):
    segment_box(2, FIRST)
    qtbot.waitUntil(lambda: backend.encoded == 6, timeout=5000)
    qtbot.waitUntil(lambda: not panel.encoding.is_busy, timeout=5000)
    segment_box(4, FIRST)
    assert panel.workspace.session.labels[4].any()
    panel.workspace.view.go_to(0)
    qtbot.wait(30)
    assert backend.encoded == 6


def test_a_model_that_is_exchanged_is_not_kept_for_what_it_encoded(
    panel, backend, segment_box, qtbot
):
    segment_box(2, FIRST)
    qtbot.waitUntil(lambda: backend.encoded == 6, timeout=5000)
    qtbot.waitUntil(lambda: not panel.encoding.is_busy, timeout=5000)
    gone = weakref.ref(panel.runner.models.segmenter)
    panel.runner.models.segmenter = panel.workspace.session.segmenter = None
    gc.collect()
    assert gone() is None


def test_nothing_is_encoded_before_a_model_is_there_or_where_it_is_not_wanted(
    panel, backend, segment_box, qtbot
):
    panel.workspace.view.go_to(3)
    qtbot.wait(30)
    assert backend.encoded == 0
    panel.encoding.is_wanted = False
    segment_box(2, FIRST)
    qtbot.wait(30)
    assert backend.encoded == 1


def test_a_box_does_not_wait_for_the_encoding_of_another_slice(
    panel, backend, segment_box, qtbot, monkeypatch
):
    began, left, encode = threading.Event(), threading.Event(), backend.encode
    segment_box(2, FIRST)

    def slow(model_input):
        if threading.current_thread() is foreground[0]:
            return encode(model_input)
        began.set()
        try:
            while True:
                check_cancelled()
                left.wait(0.001)
        finally:
            left.set()

    foreground = [None]
    start = panel.work.start

    def start_of_work(job, *others):
        def job_of_work(report):
            foreground[0] = threading.current_thread()
            job(report)

        start(job_of_work, *others)

    monkeypatch.setattr(panel.work, "start", start_of_work)
    qtbot.waitUntil(lambda: not panel.encoding.is_busy, timeout=5000)
    panel.workspace.session.segmenter.store.clear()
    monkeypatch.setattr(backend, "encode", slow)
    panel.encoding._done = panel.encoding._ready = None
    panel.encoding.start()
    qtbot.waitUntil(began.is_set, timeout=5000)
    segment_box(4, FIRST)
    assert left.is_set()
    assert np.count_nonzero(panel.workspace.session.labels[4]) == 200
