"""Millilitres and slices, counted where something changed."""

import numpy as np
import pytest

from napari_qmedsam.segmentation.measuring import Measure, Tally, voxel_volume_ml
from napari_qmedsam.volumes.volume import Volume


@pytest.fixture
def volume():
    """Voxels of 2 by 1 by 0.5 mm, turned in the plane: 1 mm³ each."""
    turned = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turned * (0.5, 1, 2)
    return Volume(np.zeros((4, 10, 10), np.int16), (2, 1, 0.5), affine)


def test_a_thousand_cubic_millimetres_are_one_millilitre(volume):
    assert voxel_volume_ml(volume) == pytest.approx(0.001)
    labels = np.zeros(volume.shape, np.uint16)
    labels[1, :5], labels[2, :5, :5], labels[2, 9] = 3, 3, 1
    tally = Tally(volume)
    assert tally.count(labels)
    measure = tally.measure(3)
    assert (measure.voxels, measure.slices) == (75, 2)
    assert measure.volume_ml == pytest.approx(0.075)
    assert tally.measure(7) == Measure()


def test_only_marked_slices_are_counted_again(volume):
    labels = np.zeros(volume.shape, np.uint16)
    tally = Tally(volume)
    tally.count(labels)
    labels[:2, 0, 0] = 1
    tally.mark([0])
    tally.count(labels)
    assert tally.measure(1).voxels == 1
    tally.mark()
    tally.count(labels)
    assert tally.measure(1).voxels == 2


def test_a_short_time_counts_one_slice_and_says_that_more_are_left(volume):
    labels = np.ones(volume.shape, np.uint16)
    tally = Tally(volume)
    assert not tally.count(labels, seconds=-1)
    assert tally.measure(1).slices == 1
    assert tally.count(labels)
    assert tally.measure(1).slices == 4
