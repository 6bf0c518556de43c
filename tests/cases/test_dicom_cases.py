"""DICOM as scanners, archives and scripts leave it: one test for each kind."""

import struct

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from napari_qmedsam.errors import AmbiguousSeries, UnreadableVolume
from napari_qmedsam.volumes import list_series, read_volume
from napari_qmedsam.volumes.registry import opens

SPACING = (3.0, 0.8, 0.6)
AFFINE = [[-0.6, 0, 0, 20], [0, -0.8, 0, 30], [0, 0, 3, -40], [0, 0, 0, 1]]
HU = -1024


def is_plain(volume, array) -> None:
    """Right values, spacing and place, and nothing to say."""
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.spacing_mm, SPACING)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-9)


# One file is not one finished volume ---------------------------------------


def test_frames_in_any_order_are_sorted_by_their_positions(
    tmp_path, stored, write_enhanced
):
    order = [0, 3, 6, 1, 4, 7, 2, 5]
    file = write_enhanced(tmp_path / "e.dcm", stored[order], order)
    volume = read_volume(file)
    is_plain(volume, stored)
    assert volume.notices == ()
    assert volume.array.dtype == np.uint16


def test_frames_are_scaled_each_by_its_own_slope(tmp_path, stored, write_enhanced):
    slopes = 0.5 + 0.25 * np.arange(8)
    file = write_enhanced(
        tmp_path / "e.dcm",
        stored,
        range(8),
        lambda i: {
            "PixelValueTransformationSequence": {
                "RescaleSlope": slopes[i],
                "RescaleIntercept": 10 * i,
            }
        },
    )
    expected = stored * slopes[:, None, None] + 10 * np.arange(8)[:, None, None]
    is_plain(read_volume(file), expected.astype(np.float32))


def test_shared_scale_keeps_whole_numbers(tmp_path, stored, write_enhanced):
    scale = {"RescaleSlope": 1, "RescaleIntercept": HU}
    file = write_enhanced(
        tmp_path / "e.dcm",
        stored,
        range(8),
        shared={"PixelValueTransformationSequence": scale},
    )
    volume = read_volume(file)
    is_plain(volume, stored.astype(np.int16) + HU)
    assert volume.array.dtype == np.int16


@pytest.mark.parametrize(
    ("groups", "named"),
    [
        (
            lambda i: {"FrameContentSequence": {"TemporalPositionIndex": 1 + i % 2}},
            "time point (1; 2)",
        ),
        (
            lambda i: {"MREchoSequence": {"EffectiveEchoTime": (4.6, 2.3)[i % 2]}},
            "echo (2.3; 4.6)",
        ),
        (
            lambda i: {
                "MRImageFrameTypeSequence": {
                    "FrameType": [
                        "DERIVED",
                        "PRIMARY",
                        "DIXON",
                        "FW"[i % 2],
                    ]
                }
            },
            r"kind of image (DERIVED\PRIMARY\DIXON\F; DERIVED\PRIMARY\DIXON\W)",
        ),
    ],
)
def test_several_images_of_the_same_slices_are_never_stacked(
    tmp_path, stored, write_enhanced, groups, named
):
    both = np.stack([stored, stored + 500], axis=1).reshape(16, 40, 48)
    file = write_enhanced(tmp_path / "e.dcm", both, np.repeat(range(8), 2), groups)
    images = [read_volume(file, frame=i) for i in (0, 1)]
    echoes = "echo" in named
    for i, image in enumerate(images):
        is_plain(image, stored + 500 * (i != echoes))
        assert image.notices == ()
    first = read_volume(file)
    np.testing.assert_array_equal(first.array, images[0].array)
    (notice,) = first.notices
    assert f"2 images of the same slices, which differ in {named}" in notice
    with pytest.raises(UnreadableVolume, match="no frame 2"):
        read_volume(file, frame=2)


def test_time_points_of_a_classic_series_are_told_apart_as_well(
    tmp_path, stored, write_classic
):
    both = np.concatenate([stored, stored + 500])
    write_classic(
        tmp_path / "s",
        both,
        lambda i: {
            "ImagePositionPatient": [-20, -30, -40 + 3 * (i % 8)],
            "TemporalPositionIdentifier": 1 + i // 8,
            "AcquisitionTime": f"1200{i:02}",
        },
    )
    (notice,) = read_volume(tmp_path / "s").notices
    assert "differ in time point (1; 2)" in notice
    is_plain(read_volume(tmp_path / "s", frame=1), stored.astype(np.int16) + 500 + HU)


def test_echoes_at_each_of_several_times_are_images_of_their_own(
    tmp_path, stored, write_enhanced
):
    four = np.concatenate([stored + 100 * i for i in range(4)])
    file = write_enhanced(
        tmp_path / "e.dcm",
        four,
        np.tile(range(8), 4),
        lambda i: {
            "FrameContentSequence": {"TemporalPositionIndex": 1 + i // 16},
            "MREchoSequence": {"EffectiveEchoTime": 2.0 + i // 8 % 2},
        },
    )
    for index in range(4):
        is_plain(read_volume(file, frame=index), stored + 100 * index)
    assert "time point and echo" in read_volume(file).notices[0]


def test_nothing_that_tells_two_slices_apart_is_an_error(
    tmp_path, stored, write_enhanced
):
    file = write_enhanced(tmp_path / "e.dcm", stored, [0, 1, 2, 3, 3, 4, 5, 6])
    with pytest.raises(UnreadableVolume, match="slices 3 and 4 lie at the same pos"):
        read_volume(file)


def test_missing_frame_is_told_as_in_a_classic_series(tmp_path, stored, write_enhanced):
    places = [0, 1, 2, 4, 5, 6, 7]
    file = write_enhanced(tmp_path / "e.dcm", stored[places], places)
    volume = read_volume(file)
    np.testing.assert_allclose(volume.spacing_mm, SPACING)
    (notice,) = volume.notices
    assert "1 slice(s) seem to be missing" in notice


def test_tilted_gantry_of_an_enhanced_object_is_told(tmp_path, stored, write_enhanced):
    file = write_enhanced(
        tmp_path / "e.dcm",
        stored,
        range(8),
        position=lambda z: [-20, -30 + z, -40 + 3 * z],
    )
    volume = read_volume(file)
    is_plain(volume, stored)
    assert "shifted 1.00 mm sideways" in volume.notices[0]


def test_several_enhanced_objects_of_one_series_are_one_volume(
    tmp_path, stored, write_enhanced
):
    write_enhanced(tmp_path / "s" / "b.dcm", stored[:4], range(4), uid="3.1")
    write_enhanced(tmp_path / "s" / "a.dcm", stored[4:], range(4, 8), uid="3.2")
    is_plain(read_volume(tmp_path / "s"), stored)
    is_plain(read_volume(tmp_path / "s" / "a.dcm"), stored)
    (series,) = list_series(tmp_path / "s")
    assert series.count == 8
    assert [name[-5:] for name in series.files] == ["b.dcm", "a.dcm"]


def test_own_groups_go_before_shared_ones(tmp_path, stored, write_enhanced):
    file = write_enhanced(
        tmp_path / "e.dcm",
        stored,
        range(8),
        lambda i: {
            "PixelMeasuresSequence": {"PixelSpacing": [0.8, 0.6 + 0.1 * (i > 4)]}
        },
    )
    with pytest.raises(UnreadableVolume, match=r"pixel spacing: .*0\.6.*0\.7 mm"):
        read_volume(file)


def test_more_frames_declared_than_described_or_held(tmp_path, stored, write_enhanced):
    file = write_enhanced(tmp_path / "e.dcm", stored, range(7))
    with pytest.raises(UnreadableVolume, match="declares 8 frames, but describes 7"):
        read_volume(file)
    file = write_enhanced(
        tmp_path / "t" / "f.dcm", stored, range(8), NumberOfFrames=10**8
    )
    with pytest.raises(UnreadableVolume, match="declares 100000000 frames"):
        read_volume(file)


def test_pixels_of_more_frames_than_declared_are_not_left_out(
    tmp_path, stored, write_classic
):
    (file,) = write_classic(tmp_path / "s", stored[:1])
    data = pydicom.dcmread(file)
    data.PixelData = stored.tobytes()
    data.save_as(file)
    with pytest.raises(UnreadableVolume, match="declares 1 frames of 3840 bytes, but"):
        read_volume(file)


def test_what_holds_no_image_is_refused_by_class(tmp_path, stored, write_classic):
    file = write_classic(tmp_path / "s", stored[:1])[0]
    data = pydicom.dcmread(file)
    del data.PixelData, data.Rows, data.Columns
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = (
        "1.2.840.10008.5.1.4.1.1.481.3"
    )
    data.save_as(file)
    with pytest.raises(UnreadableVolume, match="is a RT Structure Set Storage, which"):
        read_volume(file)
    with pytest.raises(UnreadableVolume, match="but 1 x RT Structure Set Storage"):
        read_volume(tmp_path / "s")


# Assumed sizes --------------------------------------------------------------


@pytest.mark.parametrize("spacing", [None, [0, 0], [-1, 1]])
def test_no_usable_pixel_spacing_is_told(tmp_path, stored, write_classic, spacing):
    write_classic(tmp_path / "s", stored, lambda i: {"PixelSpacing": spacing})
    volume = read_volume(tmp_path / "s")
    assert volume.spacing_mm == (3.0, 1.0, 1.0)
    assert volume.notices == (
        "The files carry no pixel spacing above 0; 1 mm is assumed.",
    )


def test_the_ratio_of_sides_stands_in_for_a_spacing(tmp_path, stored, write_classic):
    change = {"PixelSpacing": None, "PixelAspectRatio": [3, 2]}
    write_classic(tmp_path / "s", stored, lambda i: change)
    volume = read_volume(tmp_path / "s")
    assert volume.spacing_mm == (3.0, 1.5, 1.0)
    assert "1.5 mm down a column by their PixelAspectRatio" in volume.notices[0]


def test_one_slice_is_as_thick_as_it_says(tmp_path, stored, write_classic):
    write_classic(tmp_path / "s", stored[:1], lambda i: {"SliceThickness": 5})
    volume = read_volume(tmp_path / "s")
    assert volume.spacing_mm == (5.0, 0.8, 0.6)
    assert volume.notices == ()
    write_classic(tmp_path / "s", stored[:1], lambda i: {"SliceThickness": None})
    volume = read_volume(tmp_path / "s")
    assert volume.spacing_mm == (1.0, 0.8, 0.6)
    assert "no slice thickness; 1 mm is assumed" in volume.notices[0]


def test_thickness_without_positions_is_used_and_told(tmp_path, stored, write_classic):
    write_classic(
        tmp_path / "s",
        stored[::-1],
        lambda i: {
            "ImagePositionPatient": None,
            "ImageOrientationPatient": None,
            "InstanceNumber": 8 - i,
        },
    )
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, stored.astype(np.int16) + HU)
    assert volume.spacing_mm == SPACING
    (notice,) = volume.notices
    assert "3 mm between them is taken from their thickness" in notice


def test_spacing_that_changes_half_way_is_refused(tmp_path, stored, write_classic):
    write_classic(
        tmp_path / "s", stored, lambda i: {"PixelSpacing": [0.8 + (i > 3), 0.6]}
    )
    with pytest.raises(UnreadableVolume, match=r"spacing: 'IM000.dcm' .* 'IM004.dcm'"):
        read_volume(tmp_path / "s")


@pytest.mark.parametrize("which", [0, 3, 7])
def test_a_slice_that_lies_aside_is_told(tmp_path, stored, write_classic, which):
    write_classic(
        tmp_path / "s",
        stored,
        lambda i: {"ImagePositionPatient": [-20 + 12 * (i == which), -30, -40 + 3 * i]},
    )
    volume = read_volume(tmp_path / "s")
    is_plain(volume, stored.astype(np.int16) + HU)
    (notice,) = volume.notices
    assert f"1 slice(s) lie beside the others: slice {which} by 12.00 mm" in notice


def test_slices_without_a_scale_among_others_are_told(tmp_path, stored, write_classic):
    write_classic(
        tmp_path / "s",
        stored,
        lambda i: {} if i else {"RescaleSlope": None, "RescaleIntercept": None},
    )
    volume = read_volume(tmp_path / "s")
    expected = stored.astype(np.int16) + HU
    expected[0] -= HU
    np.testing.assert_array_equal(volume.array, expected)
    assert "1 of 8 slices carry no rescale slope" in volume.notices[0]


# The same object twice, and files that are half there -------------------------


def test_copied_slices_are_read_once(tmp_path, stored, write_classic):
    for file in write_classic(tmp_path / "s", stored):
        file.with_name(f"{file.stem} (1).dcm").write_bytes(file.read_bytes())
    volume = read_volume(tmp_path / "s")
    is_plain(volume, stored.astype(np.int16) + HU)
    assert "8 slice(s) stand in the folder twice" in volume.notices[0]


def test_one_id_for_every_slice_makes_no_copies_of_them(
    tmp_path, stored, write_classic
):
    write_classic(
        tmp_path / "s",
        stored,
        lambda i: {
            "SOPInstanceUID": "1.2.3",
            "ImagePositionPatient": None,
            "SliceLocation": 3 * i,
        },
    )
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, stored.astype(np.int16) + HU)
    assert "their order follows their locations" in volume.notices[0]


@pytest.mark.parametrize(
    "content", [b"", bytes(4000), b"version https://git-lfs.github.com/spec/v1\n", None]
)
def test_a_slice_that_is_there_by_name_only_is_missed(
    tmp_path, stored, write_classic, content
):
    """At an end of the series no gap would show that it is missing."""
    last = write_classic(tmp_path / "s", stored)[-1]
    last.unlink()
    if content is None:
        last.symlink_to("gone.dcm")
    else:
        last.write_bytes(content)
    (tmp_path / "s" / "notes.txt").write_bytes(b"")
    with pytest.raises(UnreadableVolume, match=r"nothing is in 'IM007\.dcm': empty"):
        read_volume(tmp_path / "s")
    other = write_classic(tmp_path / "t", stored[:2], series="5")
    other[0].rename(tmp_path / "s" / "other.dcm")
    volume = read_volume(tmp_path / "s" / "IM000.dcm")
    assert volume.shape[0] == 7
    assert "Nothing is in 'IM007.dcm' of this folder" in volume.notices[0]


def test_slices_of_two_studies_are_never_one_volume(tmp_path, stored, write_classic):
    write_classic(
        tmp_path / "s", stored, lambda i: {"StudyInstanceUID": f"1.2.{i % 2}"}
    )
    with pytest.raises(UnreadableVolume, match="its slices are of 2 studies"):
        read_volume(tmp_path / "s")
    write_classic(tmp_path / "s", stored, lambda i: {"PatientID": f"X{i % 2}"})
    with pytest.raises(UnreadableVolume, match="its slices are of 2 patients"):
        read_volume(tmp_path / "s")
    write_classic(tmp_path / "s", stored, lambda i: {"StudyInstanceUID": f"1.2.{i}"})
    is_plain(read_volume(tmp_path / "s"), stored.astype(np.int16) + HU)
    write_classic(
        tmp_path / "s", stored, lambda i: {"FrameOfReferenceUID": f"1.2.{i % 2}"}
    )
    volume = read_volume(tmp_path / "s")
    is_plain(volume, stored.astype(np.int16) + HU)
    assert "name 2 frames of reference" in volume.notices[0]


def test_slices_exported_again_under_new_ids_are_read_once(
    tmp_path, stored, write_classic
):
    twice = np.concatenate([stored, stored])
    write_classic(
        tmp_path / "s",
        twice,
        lambda i: {"ImagePositionPatient": [-20, -30, -40 + 3 * (i % 8)]},
    )
    volume = read_volume(tmp_path / "s")
    is_plain(volume, stored.astype(np.int16) + HU)
    assert "8 slice(s) stand in the folder twice" in volume.notices[0]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_slices_without_preamble_and_suffix(tmp_path, stored, write_classic, syntax):
    for file in write_classic(tmp_path / "s", stored, suffix=""):
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = syntax
        data.save_as(file, implicit_vr=syntax.is_implicit_VR)
        content = file.read_bytes()
        start = content.index(b"\x08\x00\x16\x00")
        file.write_bytes(content[start:])
    is_plain(read_volume(tmp_path / "s"), stored.astype(np.int16) + HU)
    is_plain(read_volume(tmp_path / "s" / "IM003"), stored.astype(np.int16) + HU)


def test_files_that_macos_puts_beside_others_do_not_count(
    tmp_path, stored, write_classic
):
    for file in write_classic(tmp_path / "s", stored):
        for number in range(3):  # more than anybody would look at
            beside = file.with_name(f"._{number}{file.name}")
            beside.write_bytes(b"\0\x05\x16\x07" + bytes(300))
    assert opens(tmp_path / "s")
    volume = read_volume(tmp_path / "s")
    is_plain(volume, stored.astype(np.int16) + HU)
    assert volume.notices == ()


# Pixels -----------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_packed_frames_have_the_scale_of_their_headers(
    tmp_path, stored, write_enhanced, syntax
):
    slopes = 1.0 + 0.5 * np.arange(8)
    file = write_enhanced(
        tmp_path / "e.dcm",
        stored,
        range(8),
        lambda i: {
            "PixelValueTransformationSequence": {
                "RescaleSlope": slopes[i],
                "RescaleIntercept": 0,
            }
        },
    )
    data = pydicom.dcmread(file)
    if syntax is RLELossless:
        data.compress(syntax)
    else:
        frames = [_jpeg2000(plane) for plane in stored]
        data.PixelData = pydicom.encaps.encapsulate(frames)
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = syntax
    data.save_as(file)
    is_plain(read_volume(file), (stored * slopes[:, None, None]).astype(np.float32))


def test_bits_beside_the_stored_ones_are_no_pixels(tmp_path, stored, write_classic):
    signed = stored.astype(np.int16) - 40
    noisy = (signed & 0x0FFF) | 0x3000  # an overlay in the upper bits
    write_classic(
        tmp_path / "s",
        noisy.astype(np.int16),
        lambda i: {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": 0},
    )
    np.testing.assert_array_equal(read_volume(tmp_path / "s").array, signed)


def test_a_codec_that_cannot_be_decoded_is_named(tmp_path, stored, write_classic):
    file = write_classic(tmp_path / "s", stored[:1])[0]
    data = pydicom.dcmread(file)
    data.PixelData = pydicom.encaps.encapsulate([bytes(100)])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2KLossless
    data.save_as(file)
    with pytest.raises(UnreadableVolume, match="stored as High-Throughput JPEG 2000"):
        read_volume(file)


@pytest.mark.parametrize("rows", [60000, 41])
def test_more_pixels_declared_than_held(tmp_path, stored, write_classic, rows):
    file = write_classic(tmp_path / "s", stored[:1], lambda i: {"Rows": rows})[0]
    with pytest.raises(UnreadableVolume, match="declares .* bytes of pixels, but has"):
        read_volume(file)


@pytest.mark.parametrize("change", ["size", "bits", "frames"])
def test_packed_pixels_that_claim_gigabytes_are_refused(
    tmp_path, stored, write_classic, change
):
    """GDCM believed lengths and sizes inside packed pixels: 28 s and 4 GB."""
    file = write_classic(tmp_path / "s", stored[:1])[0]
    data = pydicom.dcmread(file)
    stream = bytearray(_jpeg2000(stored[0]))
    if change == "size":
        stream[8:16] = struct.pack(">2I", 60000, 60000)
    data.PixelData = pydicom.encaps.encapsulate([bytes(stream)])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    if change == "bits":
        data.BitsAllocated = 14648
    if change == "frames":
        data.NumberOfFrames = 20
    data.save_as(file)
    with pytest.raises(UnreadableVolume, match="is damaged or cut short|declares"):
        read_volume(file)


def test_colour_slices_are_colour(tmp_path, write_classic):
    rgb = np.random.default_rng(3).integers(0, 255, (2, 6, 7, 3), np.uint8)
    write_classic(
        tmp_path / "s",
        np.zeros((2, 6, 7), np.uint8),
        lambda i: {
            "SamplesPerPixel": 3,
            "PhotometricInterpretation": "RGB",
            "PlanarConfiguration": 0,
            "PixelData": rgb[i].tobytes(),
        },
    )
    volume = read_volume(tmp_path / "s")
    assert volume.is_colour
    np.testing.assert_array_equal(volume.array, rgb)


def test_two_series_in_one_folder_are_never_merged(tmp_path, stored, write_classic):
    write_classic(tmp_path / "s", stored)
    for file in write_classic(tmp_path / "t", stored[:2], series="7"):
        file.rename(tmp_path / "s" / f"t{file.name}")
    with pytest.raises(AmbiguousSeries, match="holds 2 DICOM series"):
        read_volume(tmp_path / "s")


def _jpeg2000(plane: np.ndarray) -> bytes:
    """Pack a slice by way of GDCM, which decodes it again in the test."""
    import cv2

    done, data = cv2.imencode(
        ".jp2", plane, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    )
    assert done
    content = data.tobytes()
    return content[content.index(b"\xff\x4f\xff\x51") :]
