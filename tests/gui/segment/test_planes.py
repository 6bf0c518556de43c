"""All planes and a 3D view beside each other, by one button."""

import sys

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.prompts import Box2D

pytestmark = pytest.mark.gui

FIRST = Box2D(3, 8, 27, 22)


def press(panel):
    QTest.mouseClick(panel.controls.planes, Qt.MouseButton.LeftButton)
    QApplication.processEvents()


def test_planes_need_a_window_and_their_plugin(panel, monkeypatch):
    assert not panel.controls.planes.isEnabled()
    monkeypatch.setitem(sys.modules, "napari_orthogonal_views", None)
    panel.show_planes()
    assert "pip install 'napari-qmedsam[gui]'" in panel.controls.status.text()
    assert not panel.controls.planes.isChecked()


@pytest.mark.slow
def test_planes_follow_the_picture_and_each_other(window, panel, finish, qtbot):
    pytest.importorskip("napari_orthogonal_views")
    window.window._qt_window.show()
    before = window.window._qt_window.centralWidget().layout().itemAt(0).widget()
    panel.workspace.view.go_to(2)
    panel.workspace.draw_boxes().add_rectangles(rectangle(2, FIRST, 3))
    press(panel)
    right, below, whole = panel.planes._models
    assert panel.controls.planes.isChecked()
    # x, y and z are stored last to first: sagittal, coronal, and all from the front.
    assert right.dims.order == (2, 0, 1)
    assert below.dims.order == (1, 0, 2)
    assert (whole.dims.ndisplay, whole.dims.order) == (3, (1, 0, 2))
    # All meet in the middle of the selected box, wherever the world begins.
    middle = panel.workspace.image.data_to_world((2, 15, 15))
    for dims in (window.dims, right.dims, below.dims):
        np.testing.assert_allclose(dims.point, middle)
    right.dims.set_current_step(2, right.dims.nsteps[2] - 1)
    assert panel.workspace.view.place == (0, 2)
    assert window.dims.current_step[2] == window.dims.nsteps[2] - 1
    assert window.dims.point == below.dims.point
    # Masks are seen there; to draw in is the picture alone.
    panel.segment_slice()
    finish(panel)
    name = panel.workspace.labels_layer.layer.name
    for model in (right, below, whole):
        copy = model.layers[name]
        assert isinstance(copy, Labels)
        assert copy.data[2, 15, 15] == 1
        assert not copy.editable
        copy.mode = "paint"
        assert copy.mode == "pan_zoom"
    panel.workspace.look_along(1)
    assert right.dims.order == (2, 0, 1)
    assert below.dims.order == (0, 1, 2)
    press(panel)
    assert not panel.controls.planes.isChecked()
    after = window.window._qt_window.centralWidget().layout().itemAt(0).widget()
    assert after is before
    press(panel)
    assert panel.planes.are_shown
