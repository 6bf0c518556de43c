"""One selection of row, box and brush label; names are edited on purpose."""

import numpy as np
import pytest
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit, QSpinBox

from napari_qmedsam.gui.segment.object_table import ID, NAME
from napari_qmedsam.gui.shared.rectangles import rectangle, box_rows
from napari_qmedsam.prompts import Box2D

pytestmark = pytest.mark.gui

FIRST, SECOND, THIRD = Box2D(3, 8, 27, 22), Box2D(18, 28, 42, 42), Box2D(2, 45, 20, 60)
LEFT = Qt.MouseButton.LeftButton


def press(layer, start, end):
    """Press, move and let go of the mouse, through the layer's own callbacks."""
    for kind, place, callbacks in (
        ("mouse_press", start, mouse_press_callbacks),
        ("mouse_move", end, mouse_move_callbacks),
        ("mouse_release", end, mouse_release_callbacks),
    ):
        position = layer.data_to_world(place)
        is_drag = kind == "mouse_move"
        event = read_only_mouse_event(type=kind, is_dragging=is_drag, position=position)
        callbacks(layer, event)


def drag(panel, slice_index, box):
    layer = panel.workspace.draw_boxes()
    corners = rectangle(slice_index, box, 3)
    press(layer, corners[0], corners[2])
    return layer


@pytest.fixture
def drawn(panel, qtbot):
    """Three boxes on slice 2, drawn with the mouse; the panel is on the screen."""
    panel.resize(430, 900)
    panel.show()
    panel.workspace.view.go_to(2)
    for box in (FIRST, SECOND, THIRD):
        drag(panel, 2, box)
    return panel


def click_row(panel, qtbot, row, column=ID, modifier=Qt.KeyboardModifier.NoModifier):
    table = panel.controls.table
    place = table.visualItemRect(table.item(row, column)).center()
    qtbot.mouseClick(table.viewport(), LEFT, modifier, place)
    return table


def selected(panel):
    """What row, box and brush say is selected."""
    layer = panel.workspace.box_layer.layer
    rows = box_rows(layer)
    return (
        panel.controls.table.selected_ids(),
        sorted({rows[i].object_id for i in layer.selected_data}),
        panel.workspace.labels_layer.layer.selected_label,
    )


def test_a_new_box_is_selected_everywhere(drawn):
    assert selected(drawn) == ([3], [3], 3)


def test_a_row_selects_its_box_and_the_brush(drawn, qtbot):
    click_row(drawn, qtbot, 1)
    assert selected(drawn) == ([2], [2], 2)


def test_a_box_selects_its_row_and_the_brush(drawn):
    layer = drawn.workspace.box_layer.layer
    layer.mode = "select"
    # Its outline; inside it is transparent, but counts as the box as well.
    press(layer, (2, 8, 3), (2, 8, 3))
    assert selected(drawn) == ([1], [1], 1)
    press(layer, (2, 25, 45), (2, 25, 45))  # beside all boxes
    assert selected(drawn)[:2] == ([], [])


def test_the_brush_selects_row_and_box(drawn):
    labels = drawn.workspace.labels_layer.layer
    labels.selected_label = 2
    assert selected(drawn) == ([2], [2], 2)
    labels.selected_label = 0  # the eraser is no object
    assert selected(drawn) == ([2], [2], 0)


def test_the_brush_paints_the_selected_object(drawn, qtbot):
    click_row(drawn, qtbot, 1)
    labels = drawn.workspace.labels_layer.layer
    labels.mode, labels.brush_size = "paint", 1
    press(labels, (2, 50, 30), (2, 50, 30))
    assert labels.data[2, 50, 30] == 2


def test_commands_are_for_the_box_that_was_drawn_last(panel, finish, qtbot):
    panel.resize(430, 900)
    panel.show()
    panel.workspace.view.go_to(2)
    for box in (FIRST, SECOND):
        drag(panel, 2, box)
    click_row(panel, qtbot, 0)
    drag(panel, 2, THIRD)
    qtbot.mouseClick(panel.controls.remove, LEFT)
    assert list(panel.workspace.session.objects) == [1, 2]
    click_row(panel, qtbot, 0)
    panel.workspace.view.go_to(3)
    drag(panel, 3, SECOND)
    qtbot.mouseClick(panel.controls.buttons["propagate_up"], LEFT)
    finish(panel)
    labels = panel.workspace.session.labels
    assert set(np.unique(labels)) == {0, max(panel.workspace.session.objects)}


def test_the_next_box_is_a_new_object_while_another_is_selected(drawn, qtbot):
    click_row(drawn, qtbot, 0)
    drawn.workspace.view.go_to(4)
    layer = drag(drawn, 4, SECOND)
    assert list(drawn.workspace.session.objects) == [1, 2, 3, 4]
    np.testing.assert_allclose(layer.edge_color[-1], drawn.workspace.colour_of(4))
    assert selected(drawn) == ([4], [4], 4)


def test_selecting_an_object_takes_no_box_of_another_slice(drawn, qtbot):
    """napari would move all of them at once."""
    drawn.workspace.view.go_to(4)
    click_row(drawn, qtbot, 0)
    assert selected(drawn) == ([1], [], 1)


def test_letters_after_a_click_on_a_name_rename_nothing(drawn, qtbot):
    table = click_row(drawn, qtbot, 1, NAME)
    qtbot.keyClicks(table, "object 1 u")
    assert [o.name for o in drawn.workspace.session.objects.values()] == [
        "object 1",
        "object 2",
        "object 3",
    ]
    assert table.selected_ids() == [2]


def edit(table, qtbot, text):
    """Type a name into the editor that is open, if there is one."""
    editors = [
        child
        for child in table.viewport().findChildren(QLineEdit)
        if child.isVisible() and not isinstance(child.parent(), QSpinBox)
    ]
    for editor in editors:
        editor.selectAll()
        qtbot.keyClicks(editor, text)
        qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.wait(20)  # Qt closes it in the next turn of its loop
    return bool(editors)


@pytest.mark.parametrize("way", ["F2", "double click"])
def test_names_are_edited_on_purpose_and_never_of_locked_objects(drawn, qtbot, way):
    for row, may in ((1, True), (0, False)):
        if not may:
            drawn.edits.change(1, is_locked=True)
        table = click_row(drawn, qtbot, row, NAME)
        if way == "F2":
            qtbot.keyClick(table, Qt.Key.Key_F2)
        else:
            place = table.visualItemRect(table.item(row, NAME)).center()
            qtbot.mouseDClick(table.viewport(), LEFT, pos=place)
        assert edit(table, qtbot, "liver") is may
    names = [o.name for o in drawn.workspace.session.objects.values()]
    assert names == ["object 1", "liver", "object 3"]
