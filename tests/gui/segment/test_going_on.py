"""After *Cancel*, *Up* goes on where it stopped: by mouse and keys in a window."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_qmedsam.prompts import Box2D

pytestmark = pytest.mark.gui

FIRST = Box2D(3, 8, 27, 22)


def filled(panel):
    return np.flatnonzero(panel.workspace.session.labels.any((1, 2))).tolist()


@pytest.fixture
def visited(panel, monkeypatch):
    """Slices that were painted, in their order."""
    workspace, found = panel.workspace, []
    changed = workspace.labels_changed

    def seen(slice_index=None, axis=0):
        if slice_index is not None:
            found.append(slice_index)
        changed(slice_index, axis)

    monkeypatch.setattr(workspace, "labels_changed", seen)
    return found


def test_up_after_cancel_does_no_slice_twice(
    window, panel, backend, mouse, finish, hold, visited, qtbot
):
    panel.workspace.image.contrast_limits = (-1000, 1000)
    panel.workspace.view.go_to(5)
    hand = mouse(panel.workspace.image)
    panel.controls.automatic.setChecked(True)
    QTest.mouseClick(panel.controls.draw, Qt.MouseButton.LeftButton)
    hand.drag(
        (5, FIRST.y_min - 0.5, FIRST.x_min - 0.5),
        (5, FIRST.y_max - 0.5, FIRST.x_max - 0.5),
    )
    finish(panel)
    assert filled(panel) == [5]
    visited.clear()
    encode = backend.encode
    hold(backend, panel.worker, after=backend.encoded + 2)
    # The slider counts against the array: up is to lower indices.
    hand.key(Qt.Key.Key_U)
    qtbot.waitUntil(lambda: len(visited) == 2, timeout=20_000)
    QTest.keyClick(hand.canvas.native, Qt.Key.Key_Q, Qt.KeyboardModifier.ShiftModifier)
    finish(panel)
    before = list(visited)
    assert before == [4, 3] or before == [4, 3, 2]
    assert panel.controls.status.text() == f"Cancelled at slice {5 - before[-1]}."
    assert panel.workspace.view.place == (0, before[-1])
    visited.clear()
    backend.encode = encode
    hand.key(Qt.Key.Key_U)
    finish(panel)
    assert visited == list(range(before[-1] - 1, -1, -1))
    assert panel.controls.status.text() == (
        "object 1: done to the end of the scan, slice 5."
    )
