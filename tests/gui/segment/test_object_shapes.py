"""Pieces, slices without the object, and tidying, through the panel's menu."""

import numpy as np
import pytest
from qtpy.QtWidgets import QMenu

from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.prompts import Absence, Box2D, Piece

pytestmark = pytest.mark.gui

FIRST, SECOND = Box2D(3, 8, 27, 22), Box2D(30, 30, 40, 42)


@pytest.fixture
def draw(panel, finish):
    def make(slice_index, box):
        panel.workspace.view.go_to(slice_index)
        panel.workspace.draw_boxes().add_rectangles(rectangle(slice_index, box, 3))
        panel.segment_slice()
        finish(panel)

    return make


@pytest.fixture
def choose(panel, finish):
    """Choose an entry of the menu *Shape*, as the mouse would."""

    def make(*titles):
        menu = panel.controls.more.menu()
        menu.aboutToShow.emit()
        for title in ("Shape", *titles[:-1]):
            menu = next(m for m in menu.findChildren(QMenu) if m.title() == title)
        next(a for a in menu.actions() if a.text() == titles[-1]).trigger()
        finish(panel)

    return make


def test_a_drawn_box_becomes_a_piece_of_another_object(panel, draw, choose):
    draw(2, FIRST)
    session = panel.workspace.session
    alone = session.labels[2] == 1
    draw(2, SECOND)
    second = session.labels[2] == 2
    panel.controls.table.select_ids([2])
    choose("Box adds to", "object 1")
    assert list(session.objects) == [1]
    assert session.objects[1].refinements == (Piece.of(2, SECOND),)
    assert np.array_equal(session.labels[2] == 1, alone | second)


def test_a_slice_is_said_to_be_without_the_object(panel, draw, choose):
    draw(2, FIRST)
    session = panel.workspace.session
    assert session.labels[2].any()
    choose("Not on this slice")
    assert session.objects[1].refinements == (Absence(2),)
    assert not session.labels[2].any()


def test_tidying_and_looking_twice(panel, draw, choose):
    draw(2, FIRST)
    session = panel.workspace.session
    session.labels[2, 60, 45] = 1
    choose("Largest piece")
    assert session.labels[2, 60, 45] == 0
    assert session.labels[2].any()
    choose("Look twice at boxes")
    assert session.tighten
