"""Level and width of the window, by the mouse on the canvas and by fields."""

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_qmedsam.gui.segment.window_drag import PIXELS, dragged
from napari_qmedsam.gui.shared.canvas import camera_of
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.windows import CT_PRESETS, Window

pytestmark = pytest.mark.gui

CTRL = Qt.KeyboardModifier.ControlModifier


def test_right_is_wider_and_down_is_a_higher_level():
    window = Window(-100.0, 300.0)
    assert dragged(window, PIXELS / 2, 0) == Window(-200.0, 400.0)
    assert dragged(window, 0, PIXELS / 4) == Window(0.0, 400.0)
    narrow = dragged(window, -10 * PIXELS, 0)
    assert 0 < narrow.upper - narrow.lower < 1


def test_ctrl_and_a_drag_change_the_window_and_draw_no_box(window, panel, mouse):
    panel.workspace.view.go_to(2)
    panel.controls.draw.click()
    hand = mouse(panel.workspace.image)
    layer, before = panel.workspace.box_layer.layer, panel.workspace.window()
    centre = tuple(camera_of(window).center)
    # Columns run leftwards on the screen.
    hand.drag((2, 20, 30), (2, 20, 10), CTRL)
    after = panel.workspace.window()
    assert after.upper - after.lower > before.upper - before.lower
    assert after.upper + after.lower == pytest.approx(before.upper + before.lower)
    hand.drag((2, 20, 20), (2, 40, 20), CTRL)
    assert panel.workspace.window().lower > after.lower
    assert layer.nshapes == 0
    assert layer.mode == "add_rectangle"
    assert tuple(camera_of(window).center) == centre
    form = panel.controls.window_form
    shown = panel.workspace.window()
    assert form.centre.value() == pytest.approx((shown.lower + shown.upper) / 2, abs=1)
    hand.drag((2, 10, 10), (2, 30, 30))
    assert layer.nshapes == 1


def test_level_and_width_are_fields_beside_the_ends(panel):
    form = panel.controls.window_form
    form.centre.setValue(40)
    form.range_width.setValue(350)
    assert panel.workspace.window() == Window(-135.0, 215.0)
    assert (form.darkest.value(), form.brightest.value()) == (-135.0, 215.0)
    form.range_width.setValue(0)
    assert panel.workspace.window() == Window(-135.0, 215.0)
    assert form.range_width.value() == 350
    for name in ("mediastinum", "angiography", "bone", "lung", "brain", "liver"):
        assert form.preset.findText(name) >= 0


def test_a_slice_is_segmented_again_in_another_window_when_asked(panel, finish, qtbot):
    from napari_qmedsam.gui.shared.rectangles import rectangle

    panel.workspace.view.go_to(2)
    layer = panel.workspace.draw_boxes()
    layer.add_rectangles(rectangle(2, Box2D(3, 8, 27, 22), 3))
    panel.segment_slice()
    finish(panel)
    form, labels = panel.controls.window_form, panel.workspace.session.labels
    found = np.count_nonzero(labels)
    assert found
    # In this window the bar is darker than half; nobody has asked yet.
    form.centre.setValue(600)
    qtbot.wait(600)
    assert np.count_nonzero(labels) == found
    form.segment_again.setChecked(True)
    form.centre.setValue(700)
    qtbot.waitUntil(lambda: np.count_nonzero(labels) == 0, timeout=20_000)
    finish(panel)
    form.preset.setCurrentText("soft tissue")
    form.preset.activated.emit(form.preset.currentIndex())
    qtbot.waitUntil(lambda: np.count_nonzero(labels) == found, timeout=20_000)
    assert panel.workspace.window() == CT_PRESETS["soft-tissue"]
