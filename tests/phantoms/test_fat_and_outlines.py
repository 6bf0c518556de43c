"""What phantoms proper have little of: fat as MR shows it, and other annotators."""

import cv2
import numpy as np
import pytest

from napari_qmedsam.phantoms.fat import opposed_phase, streaked
from napari_qmedsam.phantoms.outlines import redrawn


@pytest.fixture
def organ():
    """A dark disc of radius 40 in bright fat, and its label."""
    labels = np.zeros((256, 256), np.uint8)
    cv2.circle(labels, (128, 128), 40, 1, -1)
    image = np.zeros((256, 256), np.uint8)
    cv2.circle(image, (128, 128), 90, 200, -1)
    image[labels > 0] = 100
    return image, labels


def test_opposed_phase_darkens_the_border_of_fat_alone(organ):
    image, labels = organ
    dark = opposed_phase(np.random.default_rng(1), image)
    border = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    assert dark[border].mean() < 0.7 * image[border].mean()
    away = cv2.erode(labels, np.ones((21, 21))) > 0
    np.testing.assert_array_equal(dark[away], image[away])
    assert (dark <= image).all()


@pytest.mark.parametrize("grey", [20, 240])
def test_no_rim_where_there_is_no_fat_or_nothing_else(grey):
    image = np.full((64, 64), grey, np.uint8)
    assert opposed_phase(np.random.default_rng(0), image) is image


def test_streaks_are_of_the_grey_around_and_stay_inside(organ):
    image, labels = organ
    shares = []
    for seed in range(12):
        painted = streaked(np.random.default_rng(seed), image, labels)
        np.testing.assert_array_equal(painted[labels == 0], image[labels == 0])
        assert painted.max() <= 200
        shares.append((painted[labels > 0] > 120).mean())
    assert min(shares) == 0  # one in two objects, by chance
    assert 0.05 < max(shares) < 0.45


def test_outlines_shift_by_pixels_both_ways(organ):
    _, labels = organ
    shifts = [
        np.sqrt(redrawn(np.random.default_rng(seed), labels).sum() / np.pi) - 40
        for seed in range(40)
    ]
    assert min(shifts) == pytest.approx(-0.9, abs=0.05)  # a pixel, less on diagonals
    assert max(shifts) == pytest.approx(0.9, abs=0.05)
    assert sum(abs(shift) < 0.1 for shift in shifts) > 10


def test_thin_objects_are_left_and_neighbours_are_not_overgrown():
    labels = np.zeros((64, 64), np.uint8)
    labels[10:12, 5:60] = 1
    labels[30:40, 5:30] = 2
    labels[30:40, 30:60] = 3
    for seed in range(40):
        drawn = redrawn(np.random.default_rng(seed), labels)
        assert {1, 2, 3} <= set(np.unique(drawn))
        assert not (drawn[labels == 2] == 3).any()
        assert not (drawn[labels == 3] == 2).any()
