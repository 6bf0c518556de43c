"""Slices are numbered as napari's slider does, which may run against the array."""

import numpy as np
import pytest
from napari.layers import Layer
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit

from napari_qmedsam.gui.shared.canvas import camera_of, native_canvas_of
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.prompts import Box2D

pytestmark = pytest.mark.gui

FIRST = Box2D(3, 8, 27, 22)


def draw(panel, slice_index, box=FIRST):
    layer = panel.workspace.draw_boxes()
    layer.add_rectangles(rectangle(slice_index, box, 3))
    return layer


def shown(panel):
    """From and To of object 1, as the table says."""
    return tuple(field.value() for field in panel.controls.table.spin_boxes(1))


def test_from_and_to_are_what_the_slider_says(panel, qtbot):
    """Index 1 of the six slices is 4 on the slider: z runs against the display."""
    view, dims = panel.workspace.view, panel.viewer.dims
    view.go_to(1)
    assert dims.current_step[0] == 4
    draw(panel, 1)
    assert shown(panel) == (4, 4)
    field = panel.controls.table.spin_boxes(1)[0]
    editor = field.findChild(QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "2")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert shown(panel) == (2, 4)
    box = panel.workspace.session.objects[1].box
    assert (box.z_min, box.z_max) == (1, 4)
    for number in (2, 4):
        dims.set_current_step(0, number)
        assert box.z_min <= view.slice_index < box.z_max
    dims.set_current_step(0, 5)
    assert view.slice_index == 0


def test_from_here_and_to_here_follow_the_slider(panel, qtbot):
    draw(panel, 3)
    left = Qt.MouseButton.LeftButton
    panel.viewer.dims.set_current_step(0, 1)
    qtbot.mouseClick(panel.controls.from_here, left)
    assert shown(panel) == (1, 2)
    panel.viewer.dims.set_current_step(0, 4)
    qtbot.mouseClick(panel.controls.to_here, left)
    assert shown(panel) == (1, 4)
    box = panel.workspace.session.objects[1].box
    assert (box.z_min, box.z_max) == (1, 5)


def test_a_longer_layer_moves_the_numbers_and_the_slider_may_go_beyond(panel, qtbot):
    draw(panel, 1)
    image = panel.workspace.image
    low = image.extent.world[0]
    far = (low - np.array([30.0, 0, 0])) / np.asarray(image.scale)
    panel.viewer.add_points([far], scale=image.scale, name="far")
    view, dims = panel.workspace.view, panel.viewer.dims
    view.go_to(1)
    assert shown(panel) == (dims.current_step[0],) * 2
    dims.set_current_step(0, 0)
    assert view.is_outside
    qtbot.mouseClick(panel.controls.buttons["segment_slice"], Qt.MouseButton.LeftButton)
    first, last = view.span()
    assert notification_manager.records[-1].message == (
        f"The slider is beyond 'bars', which reaches from slice {first} to {last}."
    )
    assert not panel.work.is_busy
    assert last - first == 5


def test_other_views_open_at_the_selected_object_or_the_middle(panel, qtbot):
    view, combo = panel.workspace.view, panel.controls.view

    def look(axis):
        combo.setCurrentIndex(axis)
        combo.activated.emit(axis)
        return view.place

    assert look(1) == (1, 32)
    assert look(0) == (0, 3)
    draw(panel, 1)
    assert look(2) == (2, 15)
    assert look(0) == (0, 1)


def test_the_small_picture_is_turned_as_the_canvas_is(panel, qtbot):
    """Bars lie at low columns, which are on the right of the canvas."""
    preview = panel.controls.preview
    assert panel.workspace.view.is_mirrored == (False, True)
    preview.ask(None)
    panel.show_model()
    qtbot.waitUntil(lambda: preview.pixels is not None, timeout=5000)
    image = preview.pixmap().toImage()
    side = image.width()
    seen = np.array(
        [[image.pixelColor(x, y).lightness() for x in range(side)] for y in range(side)]
    )
    given = preview.pixels.mean(axis=2)
    half = given.shape[1] // 2
    is_left = given[:, :half].sum() > given[:, half:].sum()
    assert is_left
    assert seen[:, side // 2 :].sum() > seen[:, : side // 2].sum()


def test_a_scan_that_is_opened_fills_the_canvas(window, panel, volume):
    """And not a corner of what all scans take up together."""
    main = window.window._qt_window
    main.resize(900, 700)
    main.show()
    camera = camera_of(window)
    other = volume.with_array(volume.array + 1)
    layer = Layer.create(*image_layer_data(other, "far"))
    layer.translate = layer.translate + np.array([0, 900.0, 900.0])
    window.add_layer(layer)
    assert panel.workspace.image is layer
    low, high = layer.extent.world
    np.testing.assert_allclose(camera.center[-2:], (low + high)[1:] / 2, atol=1)
    panel.workspaces.images.choose(window.layers["bars"])
    low, high = window.layers["bars"].extent.world
    np.testing.assert_allclose(camera.center[-2:], (low + high)[1:] / 2, atol=1)
    canvas = native_canvas_of(window)
    share = (high - low)[1:] * camera.zoom / [canvas.height(), canvas.width()]
    assert 0.9 < max(share) < 1
