import cv2
import numpy as np
import pytest
import tifffile

from napari_qmedsam.errors import UnreadableVolume, UnwritableLabels
from napari_qmedsam.volumes import (
    Modality,
    Volume,
    read_labels,
    read_volume,
    write_labels,
    write_volume,
)

RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 256, (20, 30), np.uint8)
RGB = RNG.integers(0, 256, (20, 30, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (20, 30), np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("picture", [GREY, DEEP], ids=["8 bit", "16 bit"])
def test_grey_keeps_its_depth(tmp_path, suffix, picture):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), picture)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, picture[None])
    assert volume.array.dtype == picture.dtype
    assert volume.modality is Modality.OTHER
    assert volume.spacing_mm == (1.0, 1.0, 1.0)
    assert "no voxel size" in volume.notices[0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colour_is_rgb(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), RGB[..., ::-1])
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, RGB[None])
    assert volume.modality is Modality.COLOUR


def test_jpeg_colours_are_in_order(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 200  # OpenCV writes BGR
    for name in ("a.jpg", "a.jpeg"):
        cv2.imwrite(str(tmp_path / name), red)
        volume = read_volume(tmp_path / name)
        np.testing.assert_allclose(
            volume.array[0, 8, 8].astype(int), (200, 0, 0), atol=3
        )


def test_transparency_is_dropped_with_a_notice(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([RGB[..., ::-1], GREY]))
    volume = read_volume(tmp_path / "a.png")
    np.testing.assert_array_equal(volume.array, RGB[None])
    assert "Transparency was dropped." in volume.notices


def test_deep_colour_is_reduced_with_a_notice(tmp_path):
    deep = RGB.astype(np.uint16) * 256 + 7
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., ::-1])
    volume = read_volume(tmp_path / "a.png")
    np.testing.assert_array_equal(volume.array, RGB[None])
    assert "Colour of 16 bits was reduced to 8." in volume.notices


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pages_written_by_tifffile_are_a_stack(tmp_path, dtype):
    stack = RNG.integers(0, 250, (3, 20, 30)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array, stack)
    assert volume.array.dtype == dtype
    one = read_volume(tmp_path / "a.tif", frame=1)
    np.testing.assert_array_equal(one.array, stack[1:2])
    with pytest.raises(UnreadableVolume, match="no frame 3"):
        read_volume(tmp_path / "a.tif", frame=3)


def test_pages_of_different_size_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(GREY)
        writer.write(GREY[:10])
    with pytest.raises(UnreadableVolume, match="pages differ in size"):
        read_volume(tmp_path / "a.tif")
    assert read_volume(tmp_path / "a.tif", frame=0).shape == (1, 20, 30)


def test_name_outside_ascii_is_read(tmp_path):
    path = tmp_path / "Schädel Übersicht.png"
    path.write_bytes(cv2.imencode(".png", GREY)[1].tobytes())
    assert read_volume(path).shape == (1, 20, 30)
    assert write_labels(GREY[None] > 9, read_volume(path), tmp_path / "ü.png").exists()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("keep", [0.1, 0.6, 0.97])
def test_cut_short_picture_is_refused_quietly(tmp_path, suffix, keep, capfd):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), GREY)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UnreadableVolume, match="Cannot read 'a"):
        read_volume(path)
    assert capfd.readouterr().err == ""


def test_damaged_png_is_refused_quietly(tmp_path, capfd):
    content = bytearray(cv2.imencode(".png", GREY)[1].tobytes())
    content[200] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableVolume, match="picture is damaged"):
        read_volume(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_other_content_is_refused_quietly(tmp_path, suffix, capfd):
    (tmp_path / f"a{suffix}").write_bytes(b"not a picture" * 20)
    with pytest.raises(UnreadableVolume, match="Cannot read 'a"):
        read_volume(tmp_path / f"a{suffix}")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("highest", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_labels_of_a_picture_round_trip(tmp_path, suffix, highest, dtype):
    cv2.imwrite(str(tmp_path / "a.png"), RGB)
    volume = read_volume(tmp_path / "a.png")
    drawn = np.zeros((1, 20, 30), np.int32)
    drawn[0, 3:9, 4:7] = highest
    out = write_labels(drawn, volume, tmp_path / f"b{suffix}")
    stored = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored, drawn[0])
    np.testing.assert_array_equal(read_labels(out, volume).array, drawn)


def test_labels_of_a_stack_round_trip_as_tiff_only(tmp_path):
    volume = Volume(np.zeros((3, 20, 30), np.uint8))
    drawn = RNG.integers(0, 5, volume.shape)
    out = write_labels(drawn, volume, tmp_path / "b.tif")
    np.testing.assert_array_equal(tifffile.imread(out), drawn)
    np.testing.assert_array_equal(read_labels(out, volume).array, drawn)
    with pytest.raises(UnwritableLabels, match="holds one slice, but there are 3"):
        write_labels(drawn, volume, tmp_path / "b.png")


def test_labels_saved_as_grey_rgb_are_read(tmp_path):
    drawn = (GREY > 99).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([drawn] * 3))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").array, drawn[None])
    cv2.imwrite(str(tmp_path / "b.png"), RGB)
    with pytest.raises(UnreadableVolume, match="colour picture"):
        read_labels(tmp_path / "b.png")


def test_images_round_trip(tmp_path):
    for array in (GREY[None], DEEP[None], RGB[None]):
        out = write_volume(Volume(array), tmp_path / "a.png")
        np.testing.assert_array_equal(read_volume(out).array, array)
    floats = Volume(GREY[None].astype(np.float32))
    np.testing.assert_array_equal(
        read_volume(write_volume(floats, tmp_path / "a.tif")).array, floats.array
    )
    with pytest.raises(UnwritableLabels, match=r"\.png cannot hold float32"):
        write_volume(floats, tmp_path / "b.png")


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1.0), ("micron", 1e-3), ("um", 1e-3)])
def test_voxel_size_of_imagej(tmp_path, unit, mm):
    stack = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stack,
        imagej=True,
        resolution=(1 / 0.5, 1 / 0.25),  # pixels per unit along x and y
        metadata={"spacing": 2.0, "unit": unit, "axes": "ZYX"},
    )
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array, stack)
    np.testing.assert_allclose(volume.spacing_mm, np.array([2.0, 0.25, 0.5]) * mm)
    assert volume.notices == ()


def test_voxel_size_of_ome(tmp_path):
    stack = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        stack,
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 0.5,
            "PhysicalSizeY": 0.25,
            "PhysicalSizeZ": 2.0,
            "PhysicalSizeXUnit": "mm",
            "PhysicalSizeYUnit": "mm",
            "PhysicalSizeZUnit": "mm",
        },
    )
    volume = read_volume(tmp_path / "a.ome.tif")
    assert volume.spacing_mm == (2.0, 0.25, 0.5)


def test_resolution_of_a_print_is_no_voxel_size(tmp_path):
    page = np.zeros((4, 5), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", page, resolution=(72, 72))
    volume = read_volume(tmp_path / "a.tif")
    assert volume.spacing_mm == (1.0, 1.0, 1.0)
    assert "no voxel size" in volume.notices[0]


def test_time_points_among_the_pages_are_told(tmp_path):
    stack = np.zeros((2, 3, 4, 5), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TZYX", "unit": "mm"}
    )
    assert "1 channels and 2 time points" in read_volume(tmp_path / "a.tif").notices[0]
