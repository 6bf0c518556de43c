import numpy as np
import pytest

from napari_qmedsam.training.boxes import careless, coarse, inside, tight_box

SIZE = 256
TIGHT = np.array([100, 80, 139, 119], np.float32)
"""First and last pixel of an object of 40 x 40."""


def drawn(count=4000):
    rng = np.random.default_rng(0)
    return np.stack([careless(TIGHT, SIZE, rng) for _ in range(count)])


def test_a_tight_box_names_the_first_and_last_pixel():
    mask = np.zeros((16, 16), bool)
    mask[3:7, 5:12] = True
    assert tight_box(mask).tolist() == [5, 3, 11, 6]


def test_careless_boxes_are_whole_pixels_of_the_input():
    boxes = drawn()
    np.testing.assert_array_equal(boxes, np.floor(boxes))
    assert boxes.min() >= 0
    assert boxes.max() < SIZE
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_careless_boxes_lean_to_no_side():
    outward = (drawn() - TIGHT) * [-1, -1, 1, 1]
    x_min, y_min, x_max, y_max = outward.mean(0)
    # Whole pixels are told by rounding down, which is outward for minima: half a
    # pixel for either side, and a coarse image leaves maxima short.
    assert x_min == pytest.approx(y_min, abs=0.4)
    assert x_max == pytest.approx(y_max, abs=0.4)
    assert x_min == pytest.approx(x_max, abs=2)


def test_careless_boxes_are_tight_loose_and_misplaced_in_their_shares():
    outward = (drawn() - TIGHT) * [-1, -1, 1, 1]
    tight = (np.abs(outward) <= 2).all(1).mean()
    assert 0.27 < tight < 0.42
    loose = ((outward >= -2).all(1) & (outward.max(1) > 3)).mean()
    assert loose > 0.2
    cutting = (outward.min(1) < -2).mean()
    assert cutting > 0.25


def test_a_box_of_a_coarse_image_is_short_at_its_maxima():
    # Pixels 40..55 and 32..47 of an image of 2.5 pixels each, scaled again.
    assert coarse(TIGHT, 2.5).tolist() == [100, 80, 137, 117]


def test_a_box_is_kept_inside_and_open():
    assert inside(np.array([-5, 250, -3, 400]), SIZE).tolist() == [0, 250, 1, 255]
