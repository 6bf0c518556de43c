"""Boxes: what they cover, what they refuse, how they are typed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_qmedsam.errors import InvalidBox
from napari_qmedsam.prompts import Box2D, Box3D, parse_box, parse_slice_box

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "values", [(2, 0, 2, 5), (3, 0, 2, 5), (0, 5, 4, 5), (0, 6, 4, 5)]
)
def test_a_box_without_area_is_refused(values):
    with pytest.raises(InvalidBox, match="is empty: each maximum must be above"):
        Box2D(*values)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_a_box_of_no_numbers_is_refused(place, value):
    values = [0.0, 0.0, 5.0, 5.0]
    values[place] = value
    with pytest.raises(InvalidBox, match="finite"):
        Box2D(*values)


def test_corners_are_the_first_and_the_last_pixel():
    assert Box2D(2, 3, 5, 7).corners() == (2, 3, 4, 6)
    assert Box2D(2, 3, 3, 4).corners() == (2, 3, 2, 3)
    assert Box2D(2.5, 3.5, 3, 4).corners() == (2.5, 3.5, 2.5, 3.5)


def test_clip_keeps_the_part_inside():
    assert Box2D(-4, 2, 50, 8).clip(6, 10) == Box2D(0, 2, 10, 6)
    with pytest.raises(InvalidBox, match="outside the slice of 10 by 6 pixels"):
        Box2D(10, 0, 12, 5).clip(6, 10)


def test_around_covers_every_pixel_and_nothing_more():
    mask = np.zeros((6, 8), bool)
    mask[2, 3] = mask[4, 5] = True
    assert Box2D.around(mask) == Box2D(3, 2, 6, 5)
    assert Box2D.around(mask, margin=1) == Box2D(2, 1, 7, 6)
    assert Box2D.around(np.zeros((6, 8), bool)) is None
    assert Box2D.enclosing(mask) == Box2D.around(mask)
    with pytest.raises(InvalidBox, match="empty mask"):
        Box2D.enclosing(np.zeros((6, 8), bool))


masks = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 11)), min_size=1, max_size=6
)


@given(masks)
def test_around_is_the_smallest_box_that_covers(places):
    mask = np.zeros((9, 12), bool)
    mask[tuple(zip(*places, strict=True))] = True
    box = Box2D.around(mask)
    inside = mask[box.y_min : box.y_max, box.x_min : box.x_max]
    assert inside.sum() == mask.sum()
    edges = inside[0], inside[-1], inside[:, 0], inside[:, -1]
    assert all(edge.any() for edge in edges)


@given(st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_jitter_stays_in_the_slice_and_leaves_a_box(seed, pixels):
    box = Box2D(3, 5, 6, 7)
    moved = box.jitter(pixels, 10, 12, np.random.default_rng(seed))
    assert moved.clip(10, 12) == moved
    assert abs(moved.x_min - box.x_min) <= pixels
    assert abs(moved.y_min - box.y_min) <= pixels
    if pixels == 0:
        assert moved == box


def test_a_box_over_slices_must_hold_whole_slices():
    assert Box3D(0, 0, 2.0, 4, 4, 5.0).z_max == 5
    assert isinstance(Box3D(0, 0, 2.0, 4, 4, 5.0).z_min, int)
    with pytest.raises(InvalidBox, match="whole slice indices"):
        Box3D(0, 0, 2.5, 4, 4, 5)
    with pytest.raises(InvalidBox, match="is empty"):
        Box3D(0, 0, 2, 4, 4, 2)
    with pytest.raises(InvalidBox, match="x 4..4"):
        Box3D(4, 0, 2, 4, 4, 3)


@pytest.mark.parametrize("value", [NAN, INFINITY])
def test_a_slice_index_that_is_no_number_is_refused(value):
    with pytest.raises(InvalidBox, match="whole slice indices"):
        Box3D(0, 0, 0, 4, 4, value)


def test_clip_of_a_box_over_slices():
    box = Box3D(-1, -1, -3, 99, 99, 99)
    assert box.clip(4, 5, 6) == Box3D(0, 0, 0, 6, 5, 4)
    with pytest.raises(InvalidBox, match=r"z 4..9 lies outside .* 4 slices \(0 to 3\)"):
        Box3D(0, 0, 4, 2, 2, 9).clip(4, 5, 6)


def test_a_box_on_one_slice():
    box = Box3D.on_slice(7, Box2D(1, 2, 3, 4))
    assert (box.z_min, box.z_max) == (7, 8)
    assert box.in_plane == Box2D(1, 2, 3, 4)


def test_boxes_are_typed_in_the_documented_order():
    assert parse_slice_box("7, 1,2,3.5,4") == Box3D(1, 2, 7, 3.5, 4, 8)
    assert parse_box("1,2,7,3,4,9") == Box3D(1, 2, 7, 3, 4, 9)


@pytest.mark.parametrize(
    ("first", "end", "middle"), [(3, 4, 3), (3, 5, 3), (3, 6, 4), (0, 10, 4)]
)
def test_the_middle_slice_of_an_even_count_is_the_lower_one(first, end, middle):
    assert Box3D(0, 0, first, 1, 1, end).middle_slice == middle


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (parse_slice_box, "1,2,3,4", "form z,x_min,y_min,x_max,y_max"),
        (parse_slice_box, "1,2,3,4,5,6", "form z,x_min,y_min,x_max,y_max"),
        (parse_slice_box, "a,2,3,4,5", "'a,2,3,4,5' must be numbers"),
        (parse_slice_box, "", "must be numbers"),
        (parse_slice_box, "1.5,2,3,4,5", "whole number"),
        (parse_slice_box, "nan,2,3,4,5", "whole number"),
        (parse_slice_box, "1,2,3,nan,5", "finite"),
        (parse_box, "1,2,3,4,5", "form x_min,y_min,z_min,x_max,y_max,z_max"),
        (parse_box, "1,2,3,4,5,inf", "whole number"),
        (parse_box, "1,2,3,4,5,3", "is empty"),
    ],
)
def test_what_is_no_box_is_refused_with_the_form_it_must_have(read, text, message):
    with pytest.raises(InvalidBox, match=message):
        read(text)
