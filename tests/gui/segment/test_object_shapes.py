"""Pieces, slices without the object, and tidying, through the panel's menu."""

from functools import partial

import numpy as np
import pytest

from napari_qmedsam.prompts import Absence, Box2D, Piece

pytestmark = pytest.mark.gui

FIRST, SECOND = Box2D(3, 8, 27, 22), Box2D(30, 30, 40, 42)


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
