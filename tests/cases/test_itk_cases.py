"""NRRD and MetaImage headers that leave something open, or ask for more."""

import gzip
import os
import sys
import zlib

import numpy as np
import pytest

from napari_qmedsam.errors import UnreadableVolume, UnwritableLabels
from napari_qmedsam.volumes import Modality, Volume, read_volume, write_labels

VALUES = (np.arange(5 * 6 * 7).reshape(5, 6, 7) % 90 + 10).astype(np.int16)
RAW = VALUES.tobytes()
SPACING = (3.0, 0.8, 0.7)
NRRD = {
    "type": "short",
    "dimension": "3",
    "sizes": "7 6 5",
    "endian": "little",
    "encoding": "raw",
    "space": "left-posterior-superior",
    "space directions": "(0.7,0,0) (0,0.8,0) (0,0,3)",
}
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "DimSize": "7 6 5",
    "ElementSpacing": "0.7 0.8 3",
    "ElementType": "MET_SHORT",
}


def write_nrrd(folder, changes, data=RAW):
    fields = {k: v for k, v in (NRRD | changes).items() if v is not None}
    lines = ["NRRD0005", *(f"{key}: {value}" for key, value in fields.items())]
    path = folder / "a.nrrd"
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + data)
    return path


def write_meta(folder, changes, data=RAW):
    fields = {k: v for k, v in (META | changes).items() if v is not None}
    lines = [f"{k} = {v}\n" for k, v in (fields | {"ElementDataFile": "LOCAL"}).items()]
    path = folder / "a.mha"
    path.write_bytes("".join(lines).encode() + data)
    return path


def told(volume, spacing=SPACING, values=VALUES) -> str:
    """What is said beside the guess of the modality."""
    np.testing.assert_array_equal(volume.array, values)
    np.testing.assert_allclose(volume.spacing_mm, spacing, rtol=1e-5)
    return " ".join(n for n in volume.notices if "does not name its mod" not in n)


@pytest.mark.parametrize("unit", ["um", "microns", "m"])
def test_lengths_of_nrrd_in_other_units_become_mm(tmp_path, unit):
    factor = 1e-3 if unit == "m" else 1e3
    x, y, z = (step * factor for step in SPACING[::-1])
    changes = {
        "space directions": f"({x},0,0) (0,{y},0) (0,0,{z})",
        "space units": f'"{unit}" "{unit}" "{unit}"',
    }
    assert "were converted" in told(read_volume(write_nrrd(tmp_path, changes)))


@pytest.mark.parametrize(
    ("changes", "spacing", "notice"),
    [
        ({"space directions": None}, (1, 1, 1), "carries no voxel size; 1 mm"),
        (
            {"space directions": None, "spacings": "0.7 0.8 nan"},
            (1, 0.8, 0.7),
            "no voxel size along every axis",
        ),
        (
            {"space directions": "(0.7,0,0) (nan,nan,nan) (0,0,3)"},
            (3, 1, 0.7),
            "no voxel size along every axis",
        ),
        ({"space": "scanner-xyz"}, SPACING, "where the patient's sides are"),
        ({"space units": '"px" "px" "px"'}, SPACING, "lengths in 'px'"),
    ],
)
def test_what_nrrd_leaves_open_is_told(tmp_path, changes, spacing, notice):
    drop = {"space": None} if changes.get("space directions", "") is None else {}
    volume = read_volume(write_nrrd(tmp_path, changes | drop))
    assert notice in told(volume, spacing)


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"line skip": "2"}, b"one\ntwo\n" + RAW),
        (
            {"line skip": "2", "encoding": "gzip"},
            b"one\ntwo\n" + gzip.compress(RAW),
        ),
        ({"byte skip": "4", "encoding": "gzip"}, gzip.compress(b"abcd" + RAW)),
        ({"byte skip": "16"}, bytes(16) + RAW),
        ({"byte skip": "-1"}, bytes(33) + RAW),
        ({"encoding": "hex"}, RAW.hex().encode()),
        ({"endian": "big"}, VALUES.astype(">i2").tobytes()),
    ],
)
def test_ways_to_store_nrrd(tmp_path, changes, data):
    assert told(read_volume(write_nrrd(tmp_path, changes, data))) == ""


@pytest.mark.parametrize(
    ("changes", "data", "reason"),
    [
        ({"endian": None}, RAW, r"not give the byte order \(endian\)"),
        ({}, gzip.compress(RAW).ljust(600, b"\0"), "packed with gzip, but its header"),
        ({"byte skip": "16"}, RAW, "16 of 420 bytes are missing"),
        # ITK's reader ends the process here.
        ({"space origin": "(0,4"}, RAW, r"gives the space origin '\(0,4'"),
        (
            {"space directions": "(1,0,0) (1,0,0) (0,0,1)"},
            RAW,
            "affine is singular",
        ),
        (
            {"space directions": None, "spacings": "0.7 0.8 3"},
            RAW,
            r"Error interpreting nrrd spacing",
        ),
        ({"encoding": "ascii"}, b"1 2 x" + b" 3" * 207, "couldn't parse element 3"),
    ],
)
def test_the_true_cause_of_a_damaged_nrrd(tmp_path, changes, data, reason):
    with pytest.raises(UnreadableVolume, match=reason):
        read_volume(write_nrrd(tmp_path, changes, data))


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 elsewhere")
@pytest.mark.parametrize("name", ["nrrd", "nhdr"])
def test_a_name_that_is_no_utf8_does_not_end_the_process(tmp_path, name):
    """SimpleITK's own check of such a name ends Python with it."""
    path = tmp_path / os.fsdecode(b"a\xff." + name.encode())
    path.write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 2 2\nencoding: raw\n\n1234"
    )
    with pytest.raises(UnreadableVolume, match="its path is not utf-8"):
        read_volume(path)
    labels = np.ones((1, 2, 2), np.uint8)
    with pytest.raises(UnwritableLabels, match="its path is not UTF-8"):
        write_labels(labels, Volume(labels), path)


def test_metaimage_without_spacing_is_told(tmp_path):
    volume = read_volume(write_meta(tmp_path, {"ElementSpacing": None}))
    assert "carries no voxel size; 1 mm" in told(volume, (1, 1, 1))


def test_lengths_of_metaimage_in_other_units_become_mm(tmp_path):
    changes = {"ElementSpacing": "0.07 0.08 0.3", "DistanceUnits": "cm"}
    volume = read_volume(write_meta(tmp_path, changes))
    assert "in units of 10 mm were converted" in told(volume)


def test_the_scale_of_intensities_is_applied(tmp_path):
    changes = {
        "ElementToIntensityFunctionSlope": "2",
        "ElementToIntensityFunctionOffset": "-1024",
    }
    volume = read_volume(write_meta(tmp_path, changes))
    assert "2 times the stored values" in told(volume, values=2 * VALUES - 1024)
    assert volume.modality is Modality.CT


def test_the_modality_of_a_header_counts(tmp_path):
    volume = read_volume(write_meta(tmp_path, {"Modality": "MET_MOD_CT"}))
    assert volume.modality is Modality.CT
    assert volume.notices == ()


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({}, RAW + b"abc"),
        ({"CompressedData": "True"}, zlib.compress(RAW + b"abc")),
    ],
)
def test_bytes_that_nothing_declares_are_told(tmp_path, changes, data):
    volume = read_volume(write_meta(tmp_path, changes, data))
    assert "3 bytes after the voxels" in told(volume)


WORDS = " ".join(map(str, VALUES.ravel()[1:])).encode()


@pytest.mark.parametrize(
    ("changes", "data", "reason"),
    [
        ({"ObjectType": "Tube"}, RAW, "holds the object 'Tube', and no image"),
        ({"ElementSpacing": "-0.7 0.8 3"}, RAW, r"spacing along x is -0\.7 mm"),
        ({"HeaderSize": "1e99"}, RAW, "gives the HeaderSize '1e99'"),
        ({"BinaryData": "False"}, b"99999 " + WORDS, "do not fit the type int16"),
        ({"BinaryData": "False"}, b"1.5 " + WORDS, "do not fit the type int16"),
    ],
)
def test_the_true_cause_of_a_damaged_metaimage(tmp_path, changes, data, reason):
    with pytest.raises(UnreadableVolume, match=reason):
        read_volume(write_meta(tmp_path, changes, data))


def test_a_list_with_too_many_files_is_refused(tmp_path):
    for z in range(6):
        (tmp_path / f"{z}.raw").write_bytes(VALUES[z % 5].tobytes())
    path = write_meta(tmp_path, {}, b"")
    names = "".join(f"{z}.raw\n" for z in range(6)).encode()
    path.write_bytes(path.read_bytes().replace(b"LOCAL", b"LIST") + names)
    with pytest.raises(UnreadableVolume, match="names 6 data files, but has 5 slices"):
        read_volume(path)


def test_paths_of_windows_are_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.raw").write_bytes(RAW)
    path = write_meta(tmp_path, {}, b"")
    path.write_bytes(path.read_bytes().replace(b"LOCAL", b"sub\\a.raw"))
    assert told(read_volume(path)) == ""
