"""Masks that are doubted, and masks that are not."""

import numpy as np
import pytest

from napari_qmedsam.prompts import Box2D, Box3D, KeyBox
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.segmentation.plausibility import Doubt, check_object, doubts_in_box
from napari_qmedsam.volumes import Volume, Window

BOX = Box2D(10, 10, 30, 30)
FULL = Window(0, 255)


@pytest.mark.parametrize(
    ("rows", "columns", "doubts"),
    [
        (slice(11, 29), slice(11, 29), ()),
        (slice(10, 30), slice(10, 30), ()),
        (slice(0, 0), slice(10, 30), (Doubt.EMPTY,)),
        # 20 of 22 columns inside: 9 % outside is let pass, 3 more are not.
        (slice(10, 30), slice(10, 32), ()),
        (slice(10, 30), slice(10, 33), (Doubt.OUTSIDE_BOX,)),
        # A gap of 4 of 20 is let pass, 5 are not.
        (slice(14, 30), slice(10, 30), ()),
        (slice(15, 30), slice(10, 30), (Doubt.BOX_NOT_FILLED,)),
        (slice(10, 30), slice(0, 24), (Doubt.OUTSIDE_BOX, Doubt.BOX_NOT_FILLED)),
    ],
)
def test_a_mask_is_held_against_its_box(rows, columns, doubts):
    mask = np.zeros((40, 40), bool)
    mask[rows, columns] = True
    assert doubts_in_box(mask, BOX) == doubts


def test_a_box_that_is_far_too_large_says_so():
    mask = np.zeros((40, 40), bool)
    mask[12:23, 12:23] = True  # 121 of 400 pixels
    assert Doubt.BOX_TOO_LARGE in doubts_in_box(mask, BOX)
    mask[12:25, 12:25] = True
    assert Doubt.BOX_TOO_LARGE not in doubts_in_box(mask, BOX)


def test_a_small_box_may_be_drawn_wide():
    mask = np.zeros((40, 40), bool)
    mask[13:17, 13:17] = True
    assert doubts_in_box(mask, Box2D(10, 10, 20, 20)) == ()


@pytest.fixture
def volume():
    array = np.full((6, 40, 40), 20, np.uint8)
    array[1:5, 10:30, 10:30] = 100
    array[4, 10:30, 10:30] = 180
    return Volume(array)


@pytest.fixture
def labels(volume):
    return (volume.array > 50).astype(np.uint16)


def test_greys_are_held_against_the_drawn_slice(volume, labels):
    o = SegmentObject(
        1, Box3D(10, 10, 1, 30, 30, 5), "a", keys=(KeyBox(2, Box2D(10, 10, 30, 30)),)
    )
    found = check_object(o, volume, labels, FULL)
    assert not found
    assert found.doubts == {4: (Doubt.OTHER_GREY,)}
    assert found.text() == (
        "Look at the mask: it lies on other greys than where it was drawn (slice 4)."
    )
    labels[4] = 0
    assert check_object(o, volume, labels, FULL)


def test_a_box_over_slices_is_held_against_all_of_them(volume, labels):
    o = SegmentObject(1, Box3D(10, 10, 1, 30, 30, 4), "a")
    labels[1, 20:] = 0  # narrower at one end, as objects are
    assert check_object(o, volume, labels, FULL)
    labels[1:4, :, 20:] = 0
    assert check_object(o, volume, labels, FULL).doubts == {2: (Doubt.BOX_NOT_FILLED,)}


def test_an_empty_object_is_doubted(volume, labels):
    o = SegmentObject(7, Box3D(10, 10, 1, 30, 30, 4), "a")
    found = check_object(o, volume, labels, FULL)
    assert found.doubts == {2: (Doubt.EMPTY,)}
    assert found.text() == "Look at the mask: it is empty (slice 2)."
    assert found.text(lambda z: 9 - z) == "Look at the mask: it is empty (slice 7)."


def test_slices_across_another_axis_are_checked_there(volume, labels):
    o = SegmentObject(1, Box3D(10, 1, 10, 30, 4, 30), "a", axis=1)
    labels[4] = 0
    assert check_object(o, volume, labels, FULL)
    labels[:, 25:] = 0
    assert check_object(o, volume, labels, FULL)  # narrower on some slices
    labels[:, :, 20:] = 0
    assert Doubt.BOX_NOT_FILLED in check_object(o, volume, labels, FULL).doubts[19]
