"""Drawing, moving and resizing boxes in one tool, by the mouse on the canvas."""

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt

from napari_qmedsam.prompts import Box2D

pytestmark = pytest.mark.gui

FIRST, SECOND = Box2D(10, 12, 30, 40), Box2D(14, 20, 20, 30)


@pytest.fixture
def hand(window, panel, mouse):
    """The mouse over the middle slice, with *Box* chosen."""
    panel.workspace.view.go_to(2)
    panel.controls.draw.click()
    return mouse(panel.workspace.image)


def draw(hand, box, slice_index=2):
    """Drag from one outer corner of a box to the other."""
    start = (slice_index, box.y_min - 0.5, box.x_min - 0.5)
    hand.drag(start, (slice_index, box.y_max - 0.5, box.x_max - 0.5))


def boxes(panel):
    return [o.box.in_plane for o in panel.workspace.session.objects.values()]


def near(one, other, voxels=1):
    """Tell whether two boxes are alike, but for where pixels were rounded to."""
    sides = ("x_min", "y_min", "x_max", "y_max")
    return all(abs(getattr(one, s) - getattr(other, s)) <= voxels for s in sides)


def test_a_handle_under_the_mouse_resizes_right_after_drawing(panel, hand):
    draw(hand, FIRST)
    assert near(boxes(panel)[0], FIRST)
    corner = (2, FIRST.y_max - 0.5, FIRST.x_max - 0.5)
    hand.drag(corner, (2, 49.5, 37.5))
    (found,) = boxes(panel)
    assert near(found, Box2D(10, 12, 38, 50))
    # And so does the middle of a side, of a box that was left for another.
    hand.drag((2, 12 - 0.5, (10 + 38) / 2 - 0.5), (2, 4.5, 23.5))
    (found,) = boxes(panel)
    assert near(found, Box2D(10, 5, 38, 50))


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_boxes_are_drawn_where_another_scan_moves_the_slider(panel, hand, share):
    """The slider's steps are then another's, and lie between slices of this one."""
    image, view = panel.workspace.image, panel.workspace.view
    below = image.extent.world[0] - np.array([(7 + share) * 3.0, 0, 0])
    other = np.zeros((3, 8, 8), np.int16)
    place = {"scale": (3, 1, 1), "translate": below, "units": ("mm",) * 3}
    panel.viewer.add_image(other, name="other", **place)
    panel.workspaces.images.choose(image)
    panel.viewer.reset_view()
    panel.viewer.dims.set_current_step(0, view.number(2))
    at = image.world_to_data(panel.viewer.dims.point)[0]
    assert abs(at - round(at)) > 0.1
    panel.controls.draw.click()
    here = view.slice_index
    draw(hand, FIRST, here)
    assert near(boxes(panel)[0], FIRST)
    (o,) = panel.workspace.session.objects.values()
    assert (o.box.z_min, o.box.z_max) == (here, here + 1)
    # And it is taken by the hand there.
    corner = (here, FIRST.y_max - 0.5, FIRST.x_max - 0.5)
    hand.drag(corner, (here, 49.5, 37.5))
    (found,) = boxes(panel)
    assert near(found, Box2D(10, 12, 38, 50))


def test_a_side_under_the_mouse_moves_a_box_that_is_not_selected(panel, hand):
    draw(hand, FIRST)
    panel.workspace.box_layer.layer.selected_data = set()
    side = (2, 20, FIRST.x_min - 0.5)
    hand.drag(side, (2, 25, FIRST.x_min + 4.5))
    (found,) = boxes(panel)
    assert near(found, Box2D(15, 17, 35, 45))


def test_a_box_begins_inside_another_and_one_outside_afterwards(panel, hand):
    draw(hand, FIRST)
    draw(hand, SECOND)
    assert len(boxes(panel)) == 2
    assert near(boxes(panel)[1], SECOND)
    draw(hand, Box2D(33, 45, 44, 60))
    assert len(boxes(panel)) == 3


def test_a_click_picks_up_the_smallest_box_and_a_drag_moves_it(panel, hand):
    draw(hand, SECOND)
    draw(hand, FIRST)  # lies above it
    before = len(notification_manager.records)
    hand.click((2, 25, 17))
    layer = panel.workspace.box_layer.layer
    assert layer.selected_data == {0}
    hand.drag((2, 25, 17), (2, 30, 22))
    assert near(boxes(panel)[0], Box2D(19, 25, 25, 35))
    assert near(boxes(panel)[1], FIRST)
    # Beside all boxes a click lets go of it, and nothing is wrong with that.
    hand.click((2, 55, 40))
    assert layer.selected_data == set()
    assert len(boxes(panel)) == 2
    assert len(notification_manager.records) == before
    draw(hand, Box2D(13, 15, 17, 20))
    assert len(boxes(panel)) == 3


def test_boxes_on_other_slices_and_hidden_ones_are_not_in_the_way(panel, hand):
    draw(hand, FIRST)
    panel.edits.change(1, is_visible=False)
    draw(hand, Box2D(10, 20, 24, 44))
    panel.workspace.view.go_to(3)
    draw(hand, Box2D(10, 12, 25, 35), 3)
    assert len(boxes(panel)) == 3


def test_delete_removes_the_box_that_is_selected(panel, hand):
    draw(hand, FIRST)
    draw(hand, Box2D(33, 45, 44, 60))
    hand.key(Qt.Key.Key_Delete)
    assert len(boxes(panel)) == 1
    assert near(boxes(panel)[0], FIRST)
    hand.click((2, 25, 20))
    hand.key(Qt.Key.Key_Backspace)
    assert boxes(panel) == []


def test_escape_gives_up_a_box_that_is_being_drawn(panel, hand):
    hand.move((2, 11.5, 9.5))
    hand.press((2, 11.5, 9.5))
    hand.drag_to((2, 30, 25))
    hand.key(Qt.Key.Key_Escape)
    hand.drag_to((2, 35, 30))
    hand.release((2, 35, 30))
    assert boxes(panel) == []
    assert panel.workspace.box_layer.layer.nshapes == 0
    draw(hand, FIRST)
    assert near(boxes(panel)[0], FIRST)


def test_escape_lets_go_and_keeps_what_was_drawn(panel, hand):
    draw(hand, FIRST)
    hand.key(Qt.Key.Key_Escape)
    layer = panel.workspace.box_layer.layer
    assert layer.selected_data == set()
    assert layer.mode == "add_rectangle"
    assert len(boxes(panel)) == 1


def test_another_tool_is_napari_s_own(panel, hand):
    draw(hand, FIRST)
    layer = panel.workspace.box_layer.layer
    layer.mode = "pan_zoom"
    hand.click((2, 25, 20))
    assert layer.mode == "pan_zoom"
    layer.mode = "add_rectangle"
    hand.click((2, 25, 20))
    assert layer.selected_data == {0}
