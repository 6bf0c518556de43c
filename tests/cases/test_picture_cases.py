"""Pictures under wrong names, and TIFF as microscopes and scripts write it."""

import io

import cv2
import numpy as np
import pytest
import tifffile

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes import read_volume

GREY = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)
STACK = np.stack([GREY, GREY + 1, GREY + 2])


def encoded(suffix, array=GREY) -> bytes:
    return cv2.imencode(suffix, array)[1].tobytes()


@pytest.mark.parametrize(
    ("held", "name"),
    [(".png", "a.jpg"), (".jpg", "a.png"), (".tif", "a.png"), (".png", "a.tif")],
)
def test_what_a_picture_is_counts_and_not_its_name(tmp_path, held, name):
    path = tmp_path / name
    path.write_bytes(encoded(held))
    found = read_volume(path).array[0]
    assert np.abs(found.astype(int) - GREY).max() <= (6 if held == ".jpg" else 0)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"GIF89a" + bytes(40), "a GIF picture"),
        (b"BM" + bytes(60), "a BMP picture"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP picture"),
    ],
)
def test_other_pictures_are_called_by_their_kind(tmp_path, content, what):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableVolume, match=f"it is {what}"):
        read_volume(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_what_follows_a_whole_picture_does_no_harm(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix) + b"appended by a camera" * 50)
    assert read_volume(path).shape == (1, 12, 16)
    path.write_bytes(encoded(suffix)[:-40] + bytes(500))
    with pytest.raises(UnreadableVolume, match="damaged or cut short"):
        read_volume(path)


@pytest.mark.parametrize("kind", ["i1", "i2", "u4", "f2", "f8", ">u2", "u8"])
def test_numbers_of_tiff_are_read_as_they_are(tmp_path, kind):
    array = (STACK // 2).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype.isnative


@pytest.mark.parametrize(
    "options",
    [{"tile": (16, 16)}, {"bigtiff": True}, {"compression": "lzma"}, {}],
    ids=str,
)
def test_ways_to_store_tiff(tmp_path, options):
    tifffile.imwrite(tmp_path / "a", STACK, photometric="minisblack", **options)
    np.testing.assert_array_equal(read_volume(tmp_path / "a").array, STACK)


def test_greys_stored_inverted_are_turned_round_and_told(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="miniswhite")
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array[0], 255 - GREY)
    assert "MinIsWhite" in volume.notices[0]


def test_one_directory_of_imagej_may_stand_for_a_stack(tmp_path):
    text = "ImageJ=1.53\nimages=3\nslices=3\nunit=mm\nspacing=2.0\n"
    stream = io.BytesIO()
    tifffile.imwrite(stream, GREY, description=text, metadata=None)
    path = tmp_path / "a.tif"
    path.write_bytes(stream.getvalue() + STACK[1:].tobytes())
    np.testing.assert_array_equal(read_volume(path).array, STACK)
    path.write_bytes(stream.getvalue() + STACK[1:2].tobytes())
    with pytest.raises(UnreadableVolume, match="not all of its 3 pages"):
        read_volume(path)


def test_missing_pages_are_an_error(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK.astype(np.uint16), photometric="minisblack")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnreadableVolume, match="not all of its pages are there"):
        read_volume(path)


def test_pixels_of_many_values_are_called_so(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((12, 16, 5), np.uint8),
        photometric="minisblack",
        planarconfig="contig",
    )
    with pytest.raises(UnreadableVolume, match="each of its pixels holds 5 values"):
        read_volume(tmp_path / "a.tif")


def test_times_and_channels_of_ome_are_told(tmp_path):
    array = np.zeros((3, 2, 12, 16), np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", array, metadata={"axes": "TCYX"})
    told = " ".join(read_volume(tmp_path / "a.ome.tif").notices)
    assert "2 channels and 3 time points" in told
