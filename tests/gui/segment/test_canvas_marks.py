"""Sides of the patient, scale bar and sliders, and which scan is in view."""

import numpy as np
import pytest
from napari.layers import Layer

from napari_qmedsam.gui.segment.canvas_marks import side_letters
from napari_qmedsam.gui.shared.canvas import scale_bar_of
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.gui.shared.rectangles import rectangle, upper_left
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.volume import Modality, Source, Volume

pytestmark = pytest.mark.gui


@pytest.fixture
def other(volume):
    """A second scan, of other voxels."""
    array = np.zeros((4, 32, 32), np.int16)
    array[:, 8:20, 8:20] = 100
    return Volume(array, (2.0, 1.0, 1.0), None, Modality.CT, Source())


def add(viewer, volume, name):
    layer = Layer.create(*image_layer_data(volume, name))
    viewer.add_layer(layer)
    return layer


def letters(panel):
    return [x.text() for x in panel.marks.letters]


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ((1, 0, 0), "R"),
        ((-1, 0, 0), "L"),
        ((0, 2, 0), "A"),
        ((0, -2, 0), "P"),
        ((0, 0, 0.5), "S"),
        ((0, 0, -0.5), "I"),
        ((0.2, 1, 0), "A"),
        ((0.6, 1, 0), "AR"),
        ((-1, 0.6, 0.1), "LA"),
    ],
)
def test_a_direction_has_the_letter_of_its_side(direction, expected):
    assert side_letters(np.array(direction, float)) == expected


def test_letters_stand_at_the_patient_s_sides_in_every_view(window, panel, qtbot):
    window.window._qt_window.show()
    panel.marks.show()
    # Left of the screen is the patient's right, and up is the front.
    assert letters(panel) == ["R", "A", "L", "P"]
    view = panel.workspace.view
    view.look_along(1)
    assert letters(panel) == ["R", "S", "L", "I"]
    view.look_along(2)
    left, top, right, bottom = letters(panel)
    assert (top, bottom) == ("S", "I")
    assert {left, right} == {"A", "P"}
    shown = panel.marks.letters
    assert all(x.isVisible() for x in shown)
    canvas = window.window._qt_viewer.canvas.native
    assert shown[0].x() < 20
    assert shown[2].geometry().right() > canvas.width() - 20
    window.dims.ndisplay = 3
    assert letters(panel) == [""] * 4
    panel.close_down()
    assert panel.marks.letters == []


def test_scale_bar_and_sliders_are_named(viewer, panel):
    assert scale_bar_of(viewer).visible
    assert viewer.dims.axis_labels == ("axial", "coronal", "sagittal")


def test_nothing_is_guessed_of_a_file_without_orientation(window, panel, other):
    source = Source("stack.tif", "picture")
    plain = Volume(other.array, (1.0, 1.0, 1.0), None, Modality.OTHER, source)
    add(window, plain, "plain")
    assert panel.workspace.image.name == "plain"
    assert letters(panel) == [""] * 4


def test_a_second_scan_comes_into_hand_and_the_first_hides(viewer, panel, other):
    first = panel.workspace
    first.draw_boxes()
    own = [x.layer for x in first.layers if x.layer is not None]
    assert len(own) >= 2
    second = add(viewer, other, "second")
    assert panel.workspace.image is second
    assert panel.controls.image.currentText() == "second"
    assert not any(x.visible for x in (first.image, *own))
    panel.workspaces.images.choose(first.image)
    assert all(x.visible for x in (first.image, *own))
    assert not second.visible


def test_a_scan_that_comes_during_work_waits(viewer, panel, other, monkeypatch):
    monkeypatch.setattr(type(panel.work), "is_busy", True)
    panel.show_objects()
    assert not panel.controls.image.isEnabled()
    first = panel.workspace
    second = add(viewer, other, "second")
    assert panel.workspace is first
    assert first.image.visible
    assert second.visible


def test_names_stand_at_the_upper_left_of_boxes_in_each_view(panel):
    """Of the test scan x and z run against the display, and heads are up."""
    layer = panel.workspace.draw_boxes()
    layer.add_rectangles(rectangle(2, Box2D(3, 8, 27, 22), 3))
    assert str(layer.text.anchor) == "upper_right"
    for axis, corner in ((1, "upper_right"), (2, "upper_left"), (0, "upper_right")):
        panel.workspace.look_along(axis)
        rows, columns = panel.workspace.view.is_mirrored
        assert str(layer.text.anchor) == corner
        assert corner == upper_left(rows, columns)
