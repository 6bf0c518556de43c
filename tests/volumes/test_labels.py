import nibabel as nib
import numpy as np
import pytest

from napari_qmedsam.errors import GridMismatch, UnreadableVolume
from napari_qmedsam.volumes import Volume, read_labels, read_volume, same_grid


def save(path, array, affine):
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine, dtype=array.dtype), path)
    return path


@pytest.fixture
def image(oblique):
    return Volume(np.zeros((4, 6, 5), np.int16), (2.5, 0.9, 0.7), oblique)


def test_same_grid_is_taken_as_it_is(tmp_path, labels, image, oblique):
    jittered = oblique.copy()
    jittered[:3, 3] += 1e-4
    read = read_labels(save(tmp_path / "a.nii", labels, jittered), image)
    np.testing.assert_array_equal(read.array, labels)
    np.testing.assert_array_equal(read.affine, image.affine)
    assert read.array.dtype == np.uint8
    assert read.notices == ()


def test_flipped_storage_is_brought_back_exactly(tmp_path, labels, image, oblique):
    # The same voxels, stored from the other end of x and z.
    flip = np.diag([-1.0, 1.0, -1.0, 1.0])
    flip[:3, 3] = (4, 0, 3)
    path = save(tmp_path / "a.nii", labels[::-1, :, ::-1], oblique @ flip)
    read = read_labels(path, image)
    np.testing.assert_array_equal(read.array, labels)
    assert same_grid(read, image)
    assert "resampled" in read.notices[0]


def test_permuted_storage_is_brought_back_exactly(tmp_path, labels, image, oblique):
    swap = np.eye(4)[[2, 0, 1, 3]]  # takes stored (y, z, x) to (x, y, z)
    path = save(tmp_path / "a.nii", labels.transpose(2, 0, 1), oblique @ swap)
    stored = nib.load(path)
    assert stored.shape == (6, 4, 5)
    assert stored.dataobj[4, 3, 2] == labels[3, 4, 2]
    read = read_labels(path, image)
    np.testing.assert_array_equal(read.array, labels)


def test_finer_grid_is_brought_back_exactly(tmp_path, labels, image, oblique):
    # Each voxel cut into 3 along y: the middle third has the same centre.
    finer = np.diag([1.0, 1 / 3, 1.0, 1.0])
    finer[1, 3] = -1 / 3
    path = save(tmp_path / "a.nii", labels.repeat(3, axis=1), oblique @ finer)
    read = read_labels(path, image)
    np.testing.assert_array_equal(read.array, labels)
    assert read.array.dtype == np.uint8
    assert "from 4 x 18 x 5 voxels of 2.5 x 0.3 x 0.7 mm" in read.notices[0]


def test_part_of_the_image_is_filled_with_background(tmp_path, labels, image, oblique):
    crop = np.eye(4)
    crop[:3, 3] = (1, 1, 1)
    path = save(tmp_path / "a.nii", labels[1:3, 1:4, 1:3], oblique @ crop)
    expected = np.where(labels == 1, labels, 0)
    np.testing.assert_array_equal(read_labels(path, image).array, expected)


def test_label_lost_in_resampling_is_named(tmp_path, image, oblique):
    fine = np.zeros((4, 18, 5), np.uint8)
    fine[1, 4, 2] = 9  # the middle of image voxel (1, 1, 2)
    fine[1, 5, 2] = 7  # beside every centre
    finer = np.diag([1.0, 1 / 3, 1.0, 1.0])
    finer[1, 3] = -1 / 3
    read = read_labels(save(tmp_path / "a.nii", fine, oblique @ finer), image)
    assert read.array[1, 1, 2] == 9
    assert read.notices[1] == "Nothing of label 7 was left after resampling."


def test_labels_elsewhere_are_refused(tmp_path, labels, image, oblique):
    away = oblique.copy()
    away[:3, 3] += (100, 0, 0)
    path = save(tmp_path / "a.nii", labels, away)
    with pytest.raises(GridMismatch, match="'a.nii' lie wholly outside"):
        read_labels(path, image)


def test_labels_elsewhere_on_a_large_grid_are_refused(tmp_path, image, oblique):
    large = np.zeros((4, 6, 60), np.uint8)
    large[:, :, 50:] = 1
    path = save(tmp_path / "a.nii", large, oblique)
    with pytest.raises(GridMismatch, match="wholly outside"):
        read_labels(path, image)
    empty = save(tmp_path / "b.nii", np.zeros_like(large), oblique)
    assert not read_labels(empty, image).array.any()


@pytest.mark.parametrize(
    ("highest", "expected"), [(1, np.uint8), (256, np.uint16), (70000, np.uint32)]
)
@pytest.mark.parametrize("stored", [np.float32, np.int32, np.float64])
def test_whole_numbers_get_the_smallest_type(
    tmp_path, labels, stored, highest, expected
):
    array = np.where(labels == 2, highest, labels).astype(stored)
    read = read_labels(save(tmp_path / "a.nii", array, np.eye(4)))
    assert read.array.dtype == expected
    np.testing.assert_array_equal(read.array, array)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, "value 0.5, but labels are whole numbers"),
        (np.nan, "value nan, but"),
        (np.inf, "value inf, but"),
        (-1, "holds the label -1"),
    ],
)
def test_values_that_are_no_labels_are_refused(tmp_path, labels, value, message):
    array = labels.astype(np.float32)
    array[0, 0, 0] = value
    with pytest.raises(UnreadableVolume, match=message):
        read_labels(save(tmp_path / "a.nii", array, np.eye(4)))


def test_image_in_place_of_labels_is_refused(tmp_path, ct):
    with pytest.raises(UnreadableVolume, match="not an image"):
        read_labels(save(tmp_path / "a.nii", ct, np.eye(4)))


def test_real_labels_share_the_grid_of_their_images(shared_data):
    for name, suffix in (("ct_abdomen_3mm", ".nii.gz"), ("mr_brain_tumour", ".nrrd")):
        image = read_volume(shared_data / f"{name}{suffix}")
        read = read_labels(shared_data / f"{name}_labels{suffix}", image)
        assert read.notices == ()
        assert read.array.any()
