"""Largest piece, holes, and smoothing across slices."""

import numpy as np
import pytest

from napari_qmedsam import Session
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.tidying import Tidying
from napari_qmedsam.volumes.volume import Volume


@pytest.fixture
def mask():
    """A block with a hole in it, and a voxel apart."""
    made = np.zeros((9, 12, 12), bool)
    made[1:8, 2:9, 2:9] = True
    made[4, 5, 5] = False
    made[4, 11, 11] = True
    return made


def test_nothing_is_done_unless_asked(mask):
    assert not Tidying()
    assert np.array_equal(Tidying().apply(mask, 1.0), mask)


def test_largest_piece_and_holes(mask):
    alone = Tidying(largest_piece=True).apply(mask, 1.0)
    assert alone.sum() == 7**3 - 1
    filled = Tidying(largest_piece=True, fill_holes=True).apply(mask, 1.0)
    assert filled.sum() == 7**3
    empty = np.zeros_like(mask)
    whole = Tidying(smooth_mm=3, largest_piece=True, fill_holes=True)
    assert not whole.apply(empty, 1.0).any()


def test_a_slice_that_stands_out_is_smoothed_by_millimetres():
    mask = np.zeros((9, 12, 12), bool)
    mask[:, 2:9, 2:9] = True
    mask[4, 2:9, 9:11] = True  # on one slice only
    mask[5, 2, 2] = False
    smooth = Tidying(smooth_mm=3.0)
    assert not smooth.apply(mask, 3.0)[4, :, 9:].any()
    assert smooth.apply(mask, 3.0)[5, 2, 2]
    # Slices 30 mm apart have nothing to say of each other.
    assert np.array_equal(smooth.apply(mask, 30.0), mask)
    with pytest.raises(InvalidSettings, match="0 mm or more"):
        Tidying(smooth_mm=-1)


def test_a_session_tidies_one_object_as_one_step(mask):
    session = Session(Volume(np.zeros(mask.shape, np.uint8)))
    session.add_object(Box3D(2, 2, 1, 9, 9, 8))
    session.add_object(Box3D(5, 5, 4, 6, 6, 5))
    session.labels[mask] = 1
    session.labels[4, 5, 5] = 2
    before = session.labels.copy()
    session.tidy(1, Tidying(largest_piece=True, fill_holes=True))
    assert session.labels[4, 11, 11] == 0
    assert session.labels[4, 5, 5] == 2  # another object's voxel stays
    session.undo()
    assert np.array_equal(session.labels, before)
    session.change_object(1, is_locked=True)
    with pytest.raises(InvalidSettings, match="Locked"):
        session.tidy(1, Tidying(largest_piece=True))
