import pickle

import numpy as np
import pytest

from napari_qmedsam.datasets import modality as module
from napari_qmedsam.datasets.dataset import open_data, split_tenth
from napari_qmedsam.datasets.modality import KEPT_CASES, PhantomSlices
from napari_qmedsam.errors import UnusableData
from napari_qmedsam.phantoms.random_slices import PhantomKind


@pytest.fixture
def ct(tmp_path, write_npz):
    """Three files of 4, 1 and 3 slices; labels on all, none, and the last."""
    write_npz(tmp_path / "CT" / "a.npz", 4, (0, 1, 2, 3))
    write_npz(tmp_path / "CT" / "b.npz", 1, ())
    write_npz(tmp_path / "CT" / "c.npz", 3, (2,))
    return open_data(str(tmp_path)).modalities[0]


def test_slices_are_found_by_cumulative_counts(ct):
    assert len(ct) == 8
    places = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (2, 1), (2, 2)]
    assert [ct.locate(index) for index in range(8)] == places
    with pytest.raises(IndexError):
        ct.locate(8)


def test_a_slice_without_labels_gives_way_to_the_nearest_with_some(ct):
    assert ct.read(2).labels.max() == 3
    assert ct.read(5).labels.max() == 3  # the third slice of the last file
    assert not ct.read(4).labels.any()


def test_only_the_last_volumes_stay_in_memory(ct, monkeypatch):
    opened = []
    read = module.read_case
    monkeypatch.setattr(
        module, "read_case", lambda file: opened.append(file.image.name) or read(file)
    )
    assert KEPT_CASES == 2
    for index in (0, 1, 5, 2, 4, 0, 6):
        ct.read(index)
    assert opened == ["a.npz", "c.npz", "b.npz", "c.npz"]
    copy = pickle.loads(pickle.dumps(ct))
    copy.read(0)
    assert opened[4:] == ["a.npz"]


def test_phantoms_depend_on_seed_kind_and_index_alone():
    first, again = (PhantomSlices(PhantomKind.CT, 3, 64).read(7) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    others = [
        PhantomSlices(PhantomKind.MR, 3, 64),
        PhantomSlices(PhantomKind.CT, 4, 64),
        PhantomSlices(PhantomKind.CT, 3, 64, held_out=True),
        PhantomSlices(None, 3, 64),
    ]
    for other in others:
        assert not np.array_equal(first.image, other.read(7).image)


def test_phantoms_are_a_data_set_of_three_modalities():
    data = open_data("phantoms", size=64)
    assert data.names == ("CT", "MR", "Mosaic")
    case = next(data.modalities[1].cases(1))
    assert case.volume.shape == case.labels.shape == (1, 64, 64)
    assert case.labels.any()


def test_a_tenth_of_the_files_is_set_aside(tmp_path, write_npz):
    for number in range(20):
        write_npz(tmp_path / "CT" / f"{number}.npz")
    for number in range(2):
        write_npz(tmp_path / "MR" / f"{number}.npz")
    kept, aside = split_tenth(open_data(str(tmp_path)))
    assert [len(m.files) for m in kept.modalities] == [18, 1]
    assert [len(m.files) for m in aside.modalities] == [2, 1]
    for part, other in zip(kept.modalities, aside.modalities, strict=True):
        assert not set(part.files) & set(other.files)


def test_a_modality_of_one_file_cannot_be_split(tmp_path, write_npz):
    write_npz(tmp_path / "CT" / "a.npz")
    with pytest.raises(UnusableData, match="Modality 'CT' .* has one file"):
        split_tenth(open_data(str(tmp_path)))
