"""Which DICOM frames make one stack: films, tiles, indices, several classes."""

import shutil

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes import read_volume

HU = -1024
NOWHERE = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
ULTRASOUND_FILM = "1.2.840.10008.5.1.4.1.1.3.1"
GREY_CAPTURES = "1.2.840.10008.5.1.4.1.1.7.3"
NUCLEAR = "1.2.840.10008.5.1.4.1.1.20"


@pytest.fixture
def write_frames(write_classic):
    """Write a multi-frame object of the old kind, without functional groups."""

    def write(folder, array, sop_class, **changes):
        (file,) = write_classic(folder, array[:1], lambda i: NOWHERE)
        data = pydicom.dcmread(file)
        del data.RescaleSlope, data.RescaleIntercept
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop_class
        data.NumberOfFrames, data.PixelData = len(array), array.tobytes()
        for keyword, value in changes.items():
            setattr(data, keyword, value)
        data.save_as(file)
        return file

    return write


def test_a_film_is_not_a_stack(tmp_path, stored, write_frames):
    for name, sop_class, changes in (
        ("a", ULTRASOUND_FILM, {}),
        ("b", GREY_CAPTURES, {"FrameIncrementPointer": 0x00181063, "FrameTime": 33}),
    ):
        file = write_frames(tmp_path / name, stored, sop_class, **changes)
        first, third = read_volume(file), read_volume(file, frame=2)
        np.testing.assert_array_equal(first.array, stored[:1])
        np.testing.assert_array_equal(third.array, stored[2:3])
        assert "8 images of the same slices" in first.notices[0]
        assert "time point (1; 2; 3; 4; 5; 6; 7; 8)" in first.notices[0]


def test_captures_without_a_clock_are_a_stack_in_the_order_of_the_file(
    tmp_path, stored, write_frames
):
    volume = read_volume(write_frames(tmp_path / "s", stored, GREY_CAPTURES))
    np.testing.assert_array_equal(volume.array, stored)
    assert "their order follows their numbers" in volume.notices[0]


def test_windows_and_detectors_of_nuclear_medicine_are_images(
    tmp_path, stored, write_frames
):
    file = write_frames(
        tmp_path / "s",
        stored,
        NUCLEAR,
        EnergyWindowVector=[1, 1, 1, 1, 2, 2, 2, 2],
        DetectorVector=[1, 2, 3, 4] * 2,
    )
    np.testing.assert_array_equal(read_volume(file, frame=5).array, stored[5:6])
    assert "energy window and detector (1 1; 1 2;" in read_volume(file).notices[0]


def test_places_in_the_stack_go_before_the_order_of_the_file(
    tmp_path, stored, write_enhanced
):
    file = write_enhanced(
        tmp_path / "e.dcm",
        stored[::-1],
        range(8),
        lambda i: {"FrameContentSequence": {"InStackPositionNumber": 8 - i}},
        position=lambda z: None,
    )
    volume = read_volume(file)
    np.testing.assert_array_equal(volume.array, stored)
    assert "follows their place in the stack, and 3 mm" in volume.notices[0]


def test_dimension_indices_tell_images_apart(tmp_path, stored, write_enhanced):
    file = write_enhanced(
        tmp_path / "e.dcm",
        np.concatenate([stored, stored + 500]),
        [*range(8)] * 2,
        lambda i: {
            "FrameContentSequence": {"DimensionIndexValues": [1, 1 + i // 8, 1 + i % 8]}
        },
    )
    np.testing.assert_array_equal(read_volume(file, frame=1).array, stored + 500)
    assert "differ in dimension 2 (1; 2)" in read_volume(file).notices[0]


def test_directions_of_diffusion_tell_images_apart(tmp_path, stored, write_enhanced):
    directions = [None, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    def groups(i):
        diffusion = {"DiffusionBValue": 1000.0 * (i >= 8)}
        if i >= 8:
            item = pydicom.Dataset()
            item.DiffusionGradientOrientation = directions[i // 8]
            diffusion["DiffusionGradientDirectionSequence"] = [item]
        return {"MRDiffusionSequence": diffusion}

    three = np.concatenate([stored + 100 * i for i in range(3)])
    file = write_enhanced(tmp_path / "e.dcm", three, [*range(8)] * 3, groups)
    assert "3 images of the same slices" in read_volume(file).notices[0]
    values = {int(read_volume(file, frame=i).array.min()) for i in range(3)}
    assert values == {0, 100, 200}


def test_times_of_their_own_for_every_slice_put_images_in_order(
    tmp_path, stored, write_classic
):
    three = np.concatenate([stored + 100 * i for i in range(3)])
    write_classic(
        tmp_path / "s",
        three[::-1],
        lambda i: {
            "ImagePositionPatient": [-20, -30, -40 + 3 * ((23 - i) % 8)],
            "TriggerTime": 40 * ((23 - i) // 8) + 0.7 * ((23 - i) % 8),
        },
    )
    for index in range(3):
        volume = read_volume(tmp_path / "s", frame=index)
        expected = stored.astype(np.int16) + 100 * index + HU
        np.testing.assert_array_equal(volume.array, expected)


def test_slice_locations_stand_in_for_positions(tmp_path, stored, write_classic):
    write_classic(
        tmp_path / "s",
        stored,
        lambda i: NOWHERE | {"SliceLocation": 2.5 * (i * 3 % 8), "InstanceNumber": 1},
    )
    volume = read_volume(tmp_path / "s")
    order = [0, 3, 6, 1, 4, 7, 2, 5]  # location k is that of file 3 k mod 8
    np.testing.assert_array_equal(volume.array, stored[order].astype(np.int16) + HU)
    assert volume.spacing_mm == (2.5, 0.8, 0.6)
    assert "follows their locations, and 2.5 mm" in volume.notices[0]


def test_positions_count_where_the_direction_is_missing(
    tmp_path, stored, write_classic
):
    write_classic(
        tmp_path / "s",
        stored[::-1],
        lambda i: {
            "ImageOrientationPatient": None,
            "ImagePositionPatient": [-20, -30, -40 + 2 * (7 - i)],
        },
    )
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, stored.astype(np.int16) + HU)
    assert volume.spacing_mm == (2.0, 0.8, 0.6)
    assert "in which direction" in volume.notices[0]


def test_slices_in_one_picture_are_refused(tmp_path, stored, write_classic):
    change = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}
    write_classic(tmp_path / "s", np.tile(stored[:1], (1, 2, 2)), lambda i: change)
    with pytest.raises(UnreadableVolume, match=r"side by side in one picture \(mosaic"):
        read_volume(tmp_path / "s")


def test_tiles_of_a_slide_are_refused(tmp_path, stored, write_frames):
    file = write_frames(
        tmp_path / "s",
        stored,
        "1.2.840.10008.5.1.4.1.1.77.1.6",
        TotalPixelMatrixRows=80,
        TotalPixelMatrixColumns=192,
    )
    with pytest.raises(UnreadableVolume, match="a slide of a microscope in tiles"):
        read_volume(file)


def test_screenshots_in_a_series_are_left_out(tmp_path, stored, write_classic):
    write_classic(tmp_path / "s", stored)
    change = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "SOPInstanceUID": "1.2.3.9",
        "InstanceNumber": 99,
    }
    (shot,) = write_classic(
        tmp_path / "s", stored[:1] * 0 + 7, lambda i: NOWHERE | change, suffix=".sc"
    )
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, stored.astype(np.int16) + HU)
    assert "1 x Secondary Capture Image Storage left out" in volume.notices[0]
    assert read_volume(shot).shape == (1, 40, 48)


def test_slices_stored_alike_but_scaled_otherwise_are_no_copies(
    tmp_path, stored, write_classic
):
    write_classic(tmp_path / "s", stored)
    write_classic(
        tmp_path / "s",
        stored,
        lambda i: {"RescaleSlope": 2, "SOPInstanceUID": f"1.2.3.{i + 1}"},
        suffix=".more",
    )
    with pytest.raises(UnreadableVolume, match="slices 0 and 1 lie at the same pos"):
        read_volume(tmp_path / "s")


def test_a_dicomdir_is_called_so_and_does_no_harm(tmp_path, stored, write_classic):
    files = write_classic(tmp_path / "s", stored)
    disc = FileSet()
    for file in files:
        data = pydicom.dcmread(file)
        data.StudyID, data.SeriesNumber, data.PatientName = "1", 1, "A"
        disc.add(data)
    disc.write(tmp_path / "disc")
    listing = tmp_path / "disc" / "DICOMDIR"
    with pytest.raises(UnreadableVolume, match="it is a Media Storage Directory"):
        read_volume(listing)
    with pytest.raises(UnreadableVolume, match="Choose one of its subfolders"):
        read_volume(tmp_path / "disc")
    shutil.copy(listing, tmp_path / "s")
    np.testing.assert_array_equal(
        read_volume(tmp_path / "s").array, stored.astype(np.int16) + HU
    )
