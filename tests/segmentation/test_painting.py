"""Who wins where objects overlap."""

import itertools

import numpy as np

from napari_qmedsam.segmentation.painting import paint, paint_free


def row(*values: int) -> np.ndarray:
    return np.array([values], np.uint16)


def mask(*values: int) -> np.ndarray:
    return np.array([values], bool)


def test_the_later_object_wins():
    plane = row(0, 0, 0, 0)
    paint(plane, [(0, mask(1, 1, 1, 0)), (1, mask(0, 1, 0, 1))], [7, 3])
    assert plane.tolist() == [[7, 3, 7, 3]]


def test_what_an_object_had_before_is_replaced():
    plane = row(7, 7, 0, 0)
    paint(plane, [(0, mask(0, 1, 1, 0))], [7])
    assert plane.tolist() == [[0, 7, 7, 0]]


def test_other_objects_give_way_unless_they_are_protected():
    plane = row(9, 9, 0, 0)
    paint(plane, [(0, mask(0, 1, 1, 0))], [7])
    assert plane.tolist() == [[9, 7, 7, 0]]
    plane = row(9, 9, 0, 0)
    paint(plane, [(0, mask(0, 1, 1, 0))], [7], protect_existing=True)
    assert plane.tolist() == [[9, 9, 7, 0]]


def test_an_empty_mask_erases_the_object():
    plane = row(7, 9, 0)
    paint(plane, [(0, mask(0, 0, 0))], [7])
    assert plane.tolist() == [[0, 9, 0]]


def test_labels_about_to_be_replaced_leave_no_hole_in_another_object():
    plane = row(0, 2, 2, 0)  # object 2 as an earlier run had it
    paint(plane, [(0, mask(1, 1, 1, 0)), (1, mask(0, 0, 0, 1))], [1, 2])
    assert plane.tolist() == [[1, 1, 1, 2]]


def test_the_order_of_visits_does_not_matter():
    masks = [mask(1, 1, 1, 0, 0), mask(0, 1, 1, 1, 0), mask(0, 0, 1, 1, 1)]
    old = row(3, 3, 2, 1, 9)
    for order in itertools.permutations(range(3)):
        for protect in (False, True):
            plane, painted = old.copy(), set()
            for index in order:
                paint(plane, [(index, masks[index])], [1, 2, 3], protect, painted)
                painted.add(index)
            expected = [[1, 2, 3, 3, 9 if protect else 3]]
            assert plane.tolist() == expected, (order, protect)


def test_other_labels_are_painted_where_there_is_nothing():
    labels = np.array([row(0, 9, 0), row(0, 0, 0)])
    before = paint_free(labels, np.array([row(5, 5, 8), row(0, 0, 0)]), {5: 1, 8: 2})
    assert labels.tolist() == [[[1, 9, 2]], [[0, 0, 0]]]
    assert {place: plane.tolist() for place, plane in before.items()} == {
        (0, 0): [[0, 9, 0]]
    }
