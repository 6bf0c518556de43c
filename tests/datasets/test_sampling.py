import numpy as np
import pytest

from napari_qmedsam.datasets.dataset import PHANTOM_SAMPLES, DataSet, open_data
from napari_qmedsam.datasets.sampling import (
    Strategy,
    epoch_order,
    samples_per_modality,
)
from napari_qmedsam.errors import UnusableData


class Numbers:
    def __init__(self, name, count):
        self.name, self.count = name, count

    def __len__(self):
        return self.count


DATA = DataSet("folder", (Numbers("CT", 250), Numbers("MR", 50), Numbers("US", 12)))


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        (Strategy.MINIMUM, (12, 12, 12)),
        (Strategy.TENTH, (25, 12, 12)),
        (Strategy.ALL, (250, 50, 12)),
    ],
)
def test_strategies_are_those_of_the_ablation(strategy, wanted):
    assert samples_per_modality(DATA, strategy) == wanted


def test_a_number_of_samples_goes_before_the_strategy():
    assert samples_per_modality(DATA, Strategy.ALL, 10) == (10, 10, 10)
    phantoms = open_data("phantoms")
    assert samples_per_modality(phantoms, Strategy.ALL) == (PHANTOM_SAMPLES,) * 3


def test_a_modality_with_too_few_slices_is_named():
    with pytest.raises(UnusableData, match="'US' of 'folder' has 12 slices, but 13"):
        samples_per_modality(DATA, Strategy.MINIMUM, 13)


def test_an_epoch_is_balanced_shuffled_and_without_repetition():
    order = epoch_order((250, 50, 12), (12, 12, 12), 0, 0)
    assert np.bincount(order[:, 0]).tolist() == [12, 12, 12]
    assert len({tuple(row) for row in order.tolist()}) == 36
    assert set(order[order[:, 0] == 2, 1].tolist()) == set(range(12))
    assert (np.diff(order[:, 0]) < 0).any()


def test_an_epoch_depends_on_seed_and_number_alone():
    counts, samples = (1_000_000, 50), (20, 20)
    first = epoch_order(counts, samples, 1, 3)
    epoch_order.cache_clear()
    np.testing.assert_array_equal(first, epoch_order(counts, samples, 1, 3))
    for seed, epoch in ((1, 4), (2, 3)):
        assert not np.array_equal(first, epoch_order(counts, samples, seed, epoch))
