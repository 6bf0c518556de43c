import logging

import numpy as np
import pytest
import SimpleITK as sitk

from napari_qmedsam.datasets.files import find_labelled
from napari_qmedsam.datasets.modality import read_case
from napari_qmedsam.errors import GridMismatch, UnreadableVolume, UnusableData
from napari_qmedsam.volumes.reading import volume_shape
from napari_qmedsam.volumes.volume import Modality


def square(depth=3):
    labels = np.zeros((depth, 20, 24), np.uint8)
    labels[:, 4:16, 4:16] = 1
    return np.where(labels, 100, -500).astype(np.int16), labels


def write_series(array, folder):
    folder.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z, plane in enumerate(array):
        image = sitk.GetImageFromArray(plane)
        for key, value in {
            "0008|0060": "CT",
            "0020|000e": "1.2.3",
            "0008|0018": f"1.2.3.{z + 1}",
            "0020|0013": str(z + 1),
            "0020|0032": f"0\\0\\{3 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{z}.dcm"))
        writer.Execute(image)


def test_the_challenge_layout_is_sorted_by_its_first_folder(tmp_path, write_npz):
    write_npz(tmp_path / "MR" / "brain" / "a.npz", depth=2)
    write_npz(tmp_path / "ct" / "liver" / "b.npz", depth=5)
    found = find_labelled(tmp_path)
    assert [(f.modality, f.image.name, f.shape) for f in found] == [
        ("MR", "a.npz", (2, 32, 32)),
        ("CT", "b.npz", (5, 32, 32)),
    ]


def test_every_format_finds_its_labels(tmp_path, write_nifti):
    array, labels = square()
    write_nifti(tmp_path / "CT" / "one.nii.gz", array)
    write_nifti(tmp_path / "CT" / "one_labels.nii.gz", labels)
    (tmp_path / "CT" / "imagesTr").mkdir()
    (tmp_path / "CT" / "labelsTr").mkdir()
    sitk.WriteImage(
        sitk.GetImageFromArray(array), tmp_path / "CT" / "imagesTr" / "two_0000.nrrd"
    )
    sitk.WriteImage(
        sitk.GetImageFromArray(labels), tmp_path / "CT" / "labelsTr" / "two.nrrd"
    )
    write_series(array, tmp_path / "CT" / "three")
    sitk.WriteImage(sitk.GetImageFromArray(labels), tmp_path / "CT" / "three_seg.mha")
    found = find_labelled(tmp_path)
    assert {(f.image.name, f.labels.name) for f in found} == {
        ("one.nii.gz", "one_labels.nii.gz"),
        ("two_0000.nrrd", "two.nrrd"),
        ("three", "three_seg.mha"),
    }
    for file in found:
        case = read_case(file)
        assert case.volume.modality is Modality.CT
        assert case.volume.shape == case.labels.shape == file.shape


def test_files_without_a_folder_are_sorted_by_their_names(tmp_path, write_npz):
    for name in ("3DBox_MR_0621", "ct_abdomen", "X-Ray_12", "thing"):
        write_npz(tmp_path / f"{name}.npz")
    modalities = {f.image.stem: f.modality for f in find_labelled(tmp_path)}
    assert modalities == {
        "3DBox_MR_0621": "MR",
        "ct_abdomen": "CT",
        "X-Ray_12": "X-Ray",
        "thing": "Other",
    }


def test_headers_tell_the_shape_of_colour_and_flat_files(tmp_path):
    np.savez(
        tmp_path / "c.npz",
        imgs=np.zeros((9, 7, 3), np.uint8),
        gts=np.zeros((9, 7), np.uint8),
    )
    np.savez(
        tmp_path / "narrow.npz",
        imgs=np.zeros((9, 7, 3), np.uint8),
        gts=np.zeros((9, 7, 3), np.uint8),
    )
    assert volume_shape(tmp_path / "c.npz") == (1, 9, 7)
    assert volume_shape(tmp_path / "narrow.npz") == (9, 7, 3)


def test_the_index_reads_headers_only(tmp_path, write_npz, monkeypatch):
    write_npz(tmp_path / "CT" / "a.npz")
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("read an array"))
    assert find_labelled(tmp_path)[0].shape == (4, 32, 32)


@pytest.mark.parametrize("kind", ["npz", "nifti"])
def test_labels_of_another_shape_are_refused(tmp_path, write_npz, write_nifti, kind):
    array, labels = square()
    if kind == "npz":
        write_npz(tmp_path / "CT" / "a.npz", labels_shape=(4, 32, 31))
    else:
        write_nifti(tmp_path / "CT" / "a.nii.gz", array)
        write_nifti(tmp_path / "CT" / "a_labels.nii.gz", labels[:2])
    with pytest.raises(
        GridMismatch, match=r"labels of '.*a\.n.*' are .* but the image"
    ):
        find_labelled(tmp_path)


def test_an_empty_or_missing_folder_is_refused(tmp_path, write_nifti):
    with pytest.raises(UnusableData, match="holds no images"):
        find_labelled(tmp_path)
    with pytest.raises(UnusableData, match="There is no data folder"):
        find_labelled(tmp_path / "none")
    write_nifti(tmp_path / "ct.nii.gz", square()[0])
    with pytest.raises(UnusableData, match="1 images, but no labels"):
        find_labelled(tmp_path)


def test_images_without_labels_are_left_out_with_a_warning(tmp_path, write_npz, caplog):
    write_npz(tmp_path / "CT" / "a.npz")
    np.savez(tmp_path / "CT" / "bare.npz", imgs=np.zeros((4, 4), np.uint8))
    with caplog.at_level(logging.WARNING):
        assert len(find_labelled(tmp_path)) == 1
    assert "1 images" in caplog.text


def test_a_damaged_file_is_named(tmp_path, write_npz):
    write_npz(tmp_path / "CT" / "a.npz")
    (tmp_path / "CT" / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(UnreadableVolume, match=r"bad\.npz"):
        find_labelled(tmp_path)
