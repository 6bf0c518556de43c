"""Objects in pieces, what boxes take away, and slices without the object."""

import numpy as np
import pytest

from napari_qmedsam import Session
from napari_qmedsam.errors import InvalidBox
from napari_qmedsam.prompts import Absence, Box2D, Box3D, Piece
from napari_qmedsam.segmentation.autosave import Autosave
from napari_qmedsam.segmentation.endings import EndReason
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.windows import Window

MAIN, OTHER = Box2D(4, 4, 12, 12), Box2D(18, 18, 28, 28)
HOLE = Box2D(6, 6, 9, 9)


@pytest.fixture
def session(backend, bright_volume):
    """Two bright squares on each of eight slices; a box around the first of them."""
    truth = np.zeros((8, 32, 32), bool)
    truth[:, 4:12, 4:12] = truth[:, 18:28, 18:28] = True
    made = Session(bright_volume(truth), SliceSegmenter(backend), Window(0, 255))
    made.add_object(Box3D.on_slice(3, MAIN))
    made.truth = truth
    return made


def test_boxes_on_one_slice_are_one_object_and_one_takes_away(session):
    pieces = (Piece.of(3, OTHER), Piece.of(3, HOLE, takes_away=True))
    session.change_object(1, pieces=pieces)
    session.segment()
    expected = session.truth[3].copy()
    expected[6:9, 6:9] = False
    assert np.array_equal(session.labels[3] == 1, expected)
    session.undo()
    session.undo()
    assert session.objects[1].refinements == ()


def test_pieces_are_propagated_with_their_object(session):
    session.change_object(1, pieces=(Piece.of(3, OTHER),))
    told = []
    session.propagate(progress=lambda *slices: told.append(slices))
    assert np.array_equal(session.labels == 1, session.truth)
    depth = len(session.labels)
    assert told == [(i, depth) for i in range(1, depth + 1)]


def test_an_object_ends_before_a_slice_where_it_is_not(session):
    session.change_object(1, absences=(Absence(6),))
    run = session.propagate()
    filled = np.flatnonzero((session.labels == 1).any(axis=(1, 2)))
    assert filled.tolist() == [0, 1, 2, 3, 4, 5]
    assert EndReason.SAID_ABSENT in {end.reason for end in run.end.ends}


def test_a_slice_within_a_box_may_be_empty(session):
    session.change_object(1, box=Box3D(4, 4, 1, 12, 12, 6), absences=(Absence(3),))
    session.labels[3, 5, 5] = 1  # of an earlier run
    session.segment()
    filled = np.flatnonzero((session.labels == 1).any(axis=(1, 2)))
    assert filled.tolist() == [1, 2, 4, 5]


def test_pieces_outlive_the_session_and_lie_inside_the_slice(session, tmp_path):
    session.change_object(1, pieces=(Piece.of(3, OTHER),), absences=(Absence(5),))
    Autosave(session.volume, tmp_path).write(session.objects, session.labels, True)
    found = Autosave(session.volume, tmp_path).left_behind()
    assert found.objects == tuple(session.objects.values())
    session.change_object(1, pieces=(Piece(3, 20, 20, 90, 90),))
    (piece, _) = sorted(session.objects[1].refinements, key=lambda r: r.slice_index)
    assert piece.box == Box2D(20, 20, 32, 32)
    with pytest.raises(InvalidBox, match="outside"):
        session.change_object(1, pieces=(Piece(3, 40, 40, 90, 90),))


def test_propagating_from_key_boxes_is_one_step(session):
    session.set_box(1, 5, MAIN)
    session.propagate()
    filled = np.flatnonzero((session.labels == 1).any(axis=(1, 2)))
    assert filled.tolist() == list(range(8))
    session.undo()
    assert not session.labels.any()
