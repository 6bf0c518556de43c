"""Pieces, slices without the object, and tidying, through the panel's menu."""

from functools import partial

import numpy as np
import pytest

from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.prompts import Absence, Box2D, Piece

pytestmark = pytest.mark.gui

FIRST, SECOND = Box2D(3, 8, 27, 22), Box2D(30, 30, 40, 42)
THIRD = Box2D(5, 10, 12, 16)


@pytest.fixture
def choose(choose_in_menu):
    """Choose an entry of the menu *Shape*."""
    return partial(choose_in_menu, "Shape")


def test_a_drawn_box_becomes_a_piece_of_another_object(panel, segment_box, choose):
    segment_box(2, FIRST)
    session = panel.workspace.session
    alone = session.labels[2] == 1
    segment_box(2, SECOND)
    second = session.labels[2] == 2
    panel.controls.table.select_ids([2])
    choose("Box adds to", "object 1")
    assert list(session.objects) == [1]
    assert session.objects[1].refinements == (Piece.of(2, SECOND),)
    assert np.array_equal(session.labels[2] == 1, alone | second)


def test_pieces_are_drawn_moved_and_deleted(panel, segment_box, choose, finish, viewer):
    segment_box(2, FIRST)
    session = panel.workspace.session
    for box, title in ((SECOND, "Box adds to"), (THIRD, "Box takes from")):
        segment_box(2, box)
        panel.controls.table.select_ids([2])
        choose(title, "object 1")
    layer = panel.workspace.piece_layer.layer
    assert layer in viewer.layers
    assert viewer.layers.selection.active is panel.workspace.box_layer.layer
    assert list(layer.features["sign"]) == ["+", "−"]
    assert np.allclose(layer.edge_color[0], panel.workspace.colour_of(1))
    assert not np.allclose(layer.edge_color[1], layer.edge_color[0])
    assert [face[3] > 0 for face in layer.face_color] == [False, True]
    assert np.array_equal(layer.data[1], rectangle(2, THIRD, 3))
    # Moved by two columns, as the mouse would; then deleted, then undone.
    layer.data = [layer.data[0] + [0, 0, 2], layer.data[1]]
    moved = Box2D(SECOND.x_min + 2, SECOND.y_min, SECOND.x_max + 2, SECOND.y_max)
    assert session.objects[1].refinements[0] == Piece.of(2, moved)
    layer.selected_data = {1}
    layer.remove_selected()
    assert session.objects[1].refinements == (Piece.of(2, moved),)
    panel.undo()
    assert session.objects[1].refinements[1] == Piece.of(2, THIRD, takes_away=True)
    assert layer.nshapes == 2
    # What is drawn here is no object's, and does not stay.
    layer.add_rectangles(rectangle(2, FIRST, 3))
    assert layer.nshapes == 2
    assert len(session.objects[1].refinements) == 2
    viewer.layers.remove(layer)
    assert session.objects[1].refinements == ()


def test_a_slice_is_said_to_be_without_the_object(panel, segment_box, choose):
    segment_box(2, FIRST)
    session = panel.workspace.session
    assert session.labels[2].any()
    choose("Not on this slice")
    assert session.objects[1].refinements == (Absence(2),)
    assert not session.labels[2].any()


def test_tidying_and_looking_twice(panel, segment_box, choose):
    segment_box(2, FIRST)
    session = panel.workspace.session
    session.labels[2, 60, 45] = 1
    choose("Largest piece")
    assert session.labels[2, 60, 45] == 0
    assert session.labels[2].any()
    choose("Tighten boxes")
    assert session.tighten
