"""One selection of row, box and brush label; names are edited on purpose."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit, QSpinBox

from napari_qmedsam.gui.segment.object_table import ID, NAME
from napari_qmedsam.gui.shared.rectangles import box_rows
from napari_qmedsam.prompts import Box2D

pytestmark = pytest.mark.gui

FIRST, SECOND, THIRD = Box2D(3, 8, 27, 22), Box2D(18, 28, 42, 42), Box2D(2, 45, 20, 60)
LEFT = Qt.MouseButton.LeftButton


def drag(hand, slice_index, box):
    """Drag from one outer corner of a box to the other."""
    start = (slice_index, box.y_min - 0.5, box.x_min - 0.5)
    hand.drag(start, (slice_index, box.y_max - 0.5, box.x_max - 0.5))


@pytest.fixture
def hand(window, panel, mouse):
    """The mouse over slice 2, with *Box* chosen."""
    panel.workspace.view.go_to(2)
    panel.controls.draw.click()
    return mouse(panel.workspace.image)


@pytest.fixture
def drawn(panel, hand):
    """Three boxes on slice 2."""
    for box in (FIRST, SECOND, THIRD):
        drag(hand, 2, box)
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


@pytest.mark.parametrize("mode", ["select", "add_rectangle"])
def test_a_box_selects_its_row_and_the_brush(drawn, hand, mode):
    drawn.workspace.box_layer.layer.mode = mode
    hand.click((2, 15, 12))
    assert selected(drawn) == ([1], [1], 1)
    hand.click((2, 25, 45))  # beside all boxes
    assert selected(drawn)[:2] == ([], [])


def test_the_brush_selects_row_and_box(drawn):
    labels = drawn.workspace.labels_layer.layer
    labels.selected_label = 2
    assert selected(drawn) == ([2], [2], 2)
    labels.selected_label = 0  # the eraser is no object
    assert selected(drawn) == ([2], [2], 0)


def test_the_brush_paints_the_selected_object(drawn, hand, qtbot):
    click_row(drawn, qtbot, 1)
    labels = drawn.workspace.labels_layer.layer
    drawn.viewer.layers.selection.active = labels
    labels.mode, labels.brush_size = "paint", 5
    hand.click((2, 50, 30))
    assert labels.data[2, 50, 30] == 2


def test_commands_are_for_the_box_that_was_drawn_last(drawn, hand, finish, qtbot):
    click_row(drawn, qtbot, 0)
    drawn.workspace.view.go_to(3)
    drag(hand, 3, SECOND)
    qtbot.mouseClick(drawn.controls.buttons["propagate_up"], LEFT)
    finish(drawn)
    assert set(np.unique(drawn.workspace.session.labels)) == {0, 4}
    click_row(drawn, qtbot, 0)
    qtbot.mouseClick(drawn.controls.remove, LEFT)
    assert list(drawn.workspace.session.objects) == [2, 3, 4]


def test_the_next_box_is_a_new_object_while_another_is_selected(drawn, hand, qtbot):
    click_row(drawn, qtbot, 0)
    drawn.workspace.view.go_to(4)
    drag(hand, 4, SECOND)
    layer = drawn.workspace.box_layer.layer
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
