"""What stored DICOM values mean: tables, paddings, missing scales, byte orders."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes import read_volume

NO_SCALE = {"RescaleSlope": None, "RescaleIntercept": None}


def edit(files, change) -> None:
    for file in files:
        data = pydicom.dcmread(file)
        change(data)
        data.save_as(file)


def add_table(data, entries=2000) -> None:
    """A lookup table that doubles what is stored."""
    table = Dataset()
    table.LUTDescriptor = [entries, 0, 16]
    table.ModalityLUTType = "HU"
    values = (2 * np.arange(2000)).astype("<u2")
    table.add_new("LUTData", "OW", values.tobytes())
    data.ModalityLUTSequence = [table]


def test_lookup_table_of_the_modality_is_applied(tmp_path, stored, write_classic):
    edit(write_classic(tmp_path / "s", stored, lambda i: NO_SCALE), add_table)
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, 2 * stored)
    assert volume.notices == ()


def test_lookup_table_of_some_slices_only_is_refused(tmp_path, stored, write_classic):
    files = write_classic(tmp_path / "s", stored, lambda i: NO_SCALE)
    edit(files[:3], add_table)
    with pytest.raises(UnreadableVolume, match="some of its slices have a lookup"):
        read_volume(tmp_path / "s")


def test_ct_without_a_scale_is_told(tmp_path, stored, write_classic):
    write_classic(tmp_path / "s", stored, lambda i: NO_SCALE)
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, stored)
    assert "taken for HU as they are stored" in volume.notices[0]


def test_ct_whose_values_are_no_hu_is_told(tmp_path, stored, write_classic):
    """Maps of iodine and of atomic numbers have the modality CT, too."""
    write_classic(tmp_path / "s", stored, lambda i: {"RescaleType": "MGML"})
    volume = read_volume(tmp_path / "s")
    assert "call their values MGML" in volume.notices[0]
    write_classic(tmp_path / "s", stored, lambda i: {"RescaleType": "HU"})
    assert read_volume(tmp_path / "s").notices == ()


def test_sizes_on_a_detector_are_told(tmp_path, stored, write_classic):
    change = {"PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.2], "Modality": "DX"}
    write_classic(tmp_path / "s", stored[:1], lambda i: change)
    volume = read_volume(tmp_path / "s")
    assert volume.spacing_mm[1:] == (0.2, 0.2)
    assert "measured on the detector" in volume.notices[-1]


def test_a_scale_that_is_no_number_is_refused(tmp_path, stored, write_classic):
    for file in write_classic(tmp_path / "s", stored):
        # pydicom does not write what is no number.
        content = file.read_bytes()
        assert b"-1024" in content
        file.write_bytes(content.replace(b"-1024", b"no-nu"))
    with pytest.raises(UnreadableVolume, match="its RescaleIntercept is no number"):
        read_volume(tmp_path / "s")


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_bright_padding_becomes_dark(tmp_path, stored, write_classic, kind):
    padding = np.iinfo(kind).max
    array = stored.astype(kind)
    array[:, :5] = padding
    write_classic(
        tmp_path / "s",
        array,
        lambda i: NO_SCALE | {"PixelPaddingValue": int(padding), "Modality": "MR"},
    )
    volume = read_volume(tmp_path / "s")
    assert volume.array.max() == stored.max()
    assert (volume.array[:, :5] == 0).all()
    np.testing.assert_array_equal(volume.array[:, 5:], stored[:, 5:])
    assert f"{8 * 5 * 48} voxels held the padding value" in volume.notices[0]


def test_a_range_of_bright_padding_becomes_dark(tmp_path, stored, write_classic):
    def pad(data):
        for element, value in ((0x00280120, 63000), (0x00280121, 60000)):
            data.add_new(element, "US", value)

    array = stored.copy()
    array[:, :3], array[:, 3:5] = 60000, 63000
    edit(write_classic(tmp_path / "s", array, lambda i: NO_SCALE), pad)
    volume = read_volume(tmp_path / "s")
    assert volume.array.max() == stored.max()
    assert "held the padding values 60000 to 63000" in volume.notices[0]


def test_dark_padding_stays(tmp_path, stored, write_classic):
    array = stored.astype(np.int16)
    array[:, :5] = -2000
    write_classic(tmp_path / "s", array, lambda i: {"PixelPaddingValue": -2000})
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, array - 1024)
    assert volume.notices == ()


def test_inverted_greys_are_told(tmp_path, stored, write_classic):
    change = {"PhotometricInterpretation": "MONOCHROME1"}
    write_classic(tmp_path / "s", stored, lambda i: change)
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, stored.astype(np.int16) - 1024)
    assert "Low values stand for white" in volume.notices[0]


@pytest.mark.parametrize("mark", [True, False])
def test_big_endian_with_and_without_preamble(tmp_path, stored, write_classic, mark):
    for file in write_classic(tmp_path / "s", stored):
        read = pydicom.dcmread(file)
        data = Dataset()
        data.update(read)
        data.PixelData = np.frombuffer(read.PixelData, "<u2").astype(">u2").tobytes()
        if mark:
            data.file_meta = read.file_meta
            data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        data.save_as(
            file, implicit_vr=False, little_endian=False, enforce_file_format=mark
        )
        assert (file.read_bytes()[128:132] == b"DICM") is mark
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, stored.astype(np.int16) - 1024)


def test_pixels_that_no_file_holds_are_not_called_damage(
    tmp_path, stored, write_classic
):
    def empty(data):
        del data.PixelData

    edit(write_classic(tmp_path / "s", stored), empty)
    with pytest.raises(UnreadableVolume, match=r"'IM000\.dcm' holds no pixels"):
        read_volume(tmp_path / "s")


def test_a_private_way_of_storing_pixels_is_named(tmp_path, stored, write_classic):
    for file in write_classic(tmp_path / "s", stored[:1]):
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = "1.2.3.4.5"
        data.save_as(file, implicit_vr=False, little_endian=True)
    with pytest.raises(UnreadableVolume, match=r"are stored as 1\.2\.3\.4\.5, which"):
        read_volume(tmp_path / "s")
