import errno
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_qmedsam.errors import GridMismatch, UnwritableLabels
from napari_qmedsam.volumes import Volume, read_labels, read_volume, write_labels
from napari_qmedsam.volumes.registry import FORMATS
from napari_qmedsam.volumes.writing import write_volume

WRITABLE = [s for k in FORMATS if k.write_image and k.keeps_place for s in k.written]
WRITABLE += [".npz"]


@pytest.fixture
def volume(ct, oblique):
    return Volume(ct, (2.5, 0.9, 0.7), oblique)


@pytest.mark.parametrize("suffix", WRITABLE)
@pytest.mark.parametrize(
    ("highest", "expected"), [(2, np.uint8), (300, np.uint16), (70000, np.uint32)]
)
def test_labels_round_trip_in_the_smallest_type(
    tmp_path, volume, labels, suffix, highest, expected
):
    labels[labels == 2] = highest
    out = write_labels(labels, volume, tmp_path / f"a{suffix}")
    read = read_labels(out, volume)
    np.testing.assert_array_equal(read.array, labels)
    assert read.array.dtype == expected
    assert not [n for n in read.notices if "resampled" in n]


@pytest.mark.parametrize("suffix", [*WRITABLE, ".tif"])
def test_labels_are_where_they_were_asked_for(tmp_path, volume, labels, suffix):
    """NumPy and ITK add ``.npz`` and ``.mha`` to what ends in capitals."""
    path = tmp_path / f"A.b{suffix.upper()}"
    assert write_labels(labels, volume, path) == path
    np.testing.assert_array_equal(read_labels(path, volume).array, labels)
    pairs = (".mhd", ".nhdr")
    assert len(list(tmp_path.iterdir())) == (2 if suffix in pairs else 1)


@pytest.mark.parametrize("suffix", WRITABLE)
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8, np.int32])
def test_images_round_trip_with_their_type(tmp_path, volume, suffix, dtype):
    from dataclasses import replace

    image = replace(volume, array=np.abs(volume.array // 10).astype(dtype))
    read = read_volume(write_volume(image, tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(read.array, image.array)
    assert read.array.dtype == dtype
    np.testing.assert_allclose(read.spacing_mm, image.spacing_mm, rtol=1e-6)


def test_masks_are_written_as_bytes(tmp_path, volume, labels):
    out = write_labels(labels > 0, volume, str(tmp_path / "a.nii"))
    assert nib.load(out).get_data_dtype() == np.uint8


def test_wrong_shape_is_refused(tmp_path, volume, labels):
    with pytest.raises(GridMismatch, match=r"\(3, 6, 5\).*has \(4, 6, 5\)"):
        write_labels(labels[1:], volume, tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.docx", r"suffix '\.docx' is not known.*Writable are"),
        ("a", "suffix '' is not known"),
        ("a.jpg", "JPEG would change the values"),
        ("none/a.nii", "there is no folder"),
        ("folder.nii", "a folder has that name"),
        ("a.png", "holds one slice, but there are 4"),
    ],
)
def test_bad_places_are_refused(tmp_path, volume, labels, name, message):
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(UnwritableLabels, match=message):
        write_labels(labels, volume, tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.nii"]


def test_values_that_are_no_labels_are_refused(tmp_path, volume, labels):
    with pytest.raises(UnwritableLabels, match="the array is float64"):
        write_labels(labels.astype(float), volume, tmp_path / "a.nii")
    with pytest.raises(UnwritableLabels, match="they hold -1"):
        write_labels(labels - 1, volume, tmp_path / "a.nii")


def test_folder_without_rights_is_refused(tmp_path, volume, labels):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(UnwritableLabels, match="Permission denied"):
        write_labels(labels, volume, folder / "a.nii")


@pytest.mark.parametrize("suffix", [*WRITABLE, ".tif"])
def test_failure_leaves_the_old_file_and_nothing_else(
    tmp_path, volume, labels, suffix, monkeypatch
):
    path = write_labels(labels, volume, tmp_path / f"a{suffix}")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UnwritableLabels, match="No space left on device"):
        write_labels(labels * 2, volume, path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", [*WRITABLE, ".tif"])
def test_writing_replaces_and_leaves_no_scratch(tmp_path, volume, labels, suffix):
    path = tmp_path / f"a{suffix}"
    write_labels(labels, volume, path)
    first = sorted(p.suffix for p in tmp_path.iterdir())
    write_labels(labels * 2, volume, path)
    # The data of a pair is named by its content, so that it can replace nothing.
    assert sorted(p.suffix for p in tmp_path.iterdir()) == first
    np.testing.assert_array_equal(read_labels(path).array, labels * 2)


def test_shape_too_long_for_the_format_is_refused(tmp_path):
    long = Volume(np.zeros((1, 2, 40000), np.uint8))
    with pytest.raises(UnwritableLabels, match="NIfTI-1 cannot hold it"):
        write_labels(long.array, long, tmp_path / "a.nii")


def test_error_is_an_os_error(tmp_path, volume, labels):
    with pytest.raises(OSError, match="Cannot write"):
        write_labels(labels, volume, tmp_path / "none" / "a.nii")


@pytest.mark.parametrize("name", ["l.mhd", "l.nhdr"])
def test_a_header_never_names_the_data_of_another(tmp_path, monkeypatch, ct, name):
    """Two files cannot be replaced at once: a kill may come between them."""
    volume = Volume(ct)
    old, new = np.ones(ct.shape, np.uint8), np.full(ct.shape, 700, np.uint16)
    write_labels(old, volume, tmp_path / name)
    replace = os.replace

    def dies_before_the_header(source, target):
        if Path(target).name == name:
            raise OSError(errno.EIO, "killed here")
        replace(source, target)

    monkeypatch.setattr(os, "replace", dies_before_the_header)
    with pytest.raises(UnwritableLabels):
        write_labels(new, volume, tmp_path / name)
    np.testing.assert_array_equal(read_labels(tmp_path / name).array, old)
    monkeypatch.undo()
    write_labels(new, volume, tmp_path / name)
    np.testing.assert_array_equal(read_labels(tmp_path / name).array, new)
    write_labels(old, volume, tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 2
