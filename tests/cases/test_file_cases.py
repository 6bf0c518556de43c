"""NIfTI, NRRD, MetaImage and others as they go wrong: one test for each kind."""

import gzip
import os
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes import read_volume

SPACING = (3.0, 0.8, 0.7)
ORIGIN = (10.0, 20.0, -30.0)

META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
{extra}TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 10 20 -30
CenterOfRotation = 0 0 0
ElementSpacing = 0.7 0.8 3
DimSize = 48 40 8
ElementType = MET_SHORT
ElementDataFile = {data}
"""

NRRD = """NRRD0004
# made for a test
type: {type}
dimension: {dimension}
space: left-posterior-superior
sizes: {sizes}
space directions: {none}(0.7,0,0) (0,0.8,0) (0,0,3)
kinds: {kinds}domain domain domain
endian: little
encoding: {encoding}
space origin: (10,20,-30)
{more}
"""


@pytest.fixture
def hounsfield(stored):
    return stored.astype(np.int16) - 1000


def meta(path, data, body=b"", extra=""):
    path.write_bytes(META.format(data=data, extra=extra).encode() + body)
    return path


def nrrd(path, body=b"", encoding="raw", more="", layers=0, kind="list"):
    header = NRRD.format(
        type="uchar" if layers else "short",
        dimension=4 if layers else 3,
        sizes=f"{layers} 48 40 8" if layers else "48 40 8",
        none="none " if layers else "",
        kinds=f"{kind} " if layers else "",
        encoding=encoding,
        more=more,
    )
    path.write_bytes(header.encode() + body)
    return path


def is_plain(path, array, *said):
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.spacing_mm, SPACING, rtol=1e-6)
    np.testing.assert_allclose(volume.affine[:3, 3], (-10, -20, -30), atol=1e-5)
    for text in said:
        assert any(text in notice for notice in volume.notices)


# A library may report success and have failed ---------------------------------


@pytest.mark.parametrize("extra", ["", "CompressedDataSize = {size}\n"])
def test_packed_metaimage_needs_no_size(tmp_path, hounsfield, extra):
    body = zlib.compress(hounsfield.tobytes())
    extra = "CompressedData = True\n" + extra.format(size=len(body))
    is_plain(meta(tmp_path / "a.mha", "LOCAL", body, extra), hounsfield)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda body: body[:-40], "packed data are cut short"),
        (lambda body: body[:60] + b"\xff" * 8 + body[68:], "packed data are damaged"),
        (lambda body: body[:-1] + bytes([body[-1] ^ 1]), "incorrect data check"),
        (
            lambda body: zlib.compress(b"short"),
            "307.. of 30720 bytes are missing",
        ),
    ],
)
def test_packed_metaimage_that_does_not_unpack(
    tmp_path, hounsfield, damage, said, local, capfd
):
    body = damage(zlib.compress(hounsfield.tobytes()))
    extra = "CompressedData = True\n"
    (tmp_path / "a.zraw").write_bytes(body)
    path = (
        meta(tmp_path / "a.mha", "LOCAL", body, extra)
        if local
        else meta(tmp_path / "a.mhd", "a.zraw", b"", extra)
    )
    with pytest.raises(UnreadableVolume, match=said):
        read_volume(path)
    assert capfd.readouterr().err == ""


def test_metaimage_of_a_file_per_slice(tmp_path, hounsfield, capfd):
    for z, plane in enumerate(hounsfield):
        (tmp_path / f"s{z:02}.raw").write_bytes(plane.tobytes())
    names = "".join(f"s{z:02}.raw\n" for z in range(8)).encode()
    is_plain(meta(tmp_path / "a.mhd", "LIST", names), hounsfield)
    is_plain(meta(tmp_path / "b.mhd", "s%02d.raw 0 7 1"), hounsfield)
    with pytest.raises(UnreadableVolume, match="names 5 data files, but has 8 slices"):
        read_volume(meta(tmp_path / "c.mhd", "LIST", names[:40]))
    (tmp_path / "s03.raw").write_bytes(b"12")
    with pytest.raises(UnreadableVolume, match="3838 of 30720 bytes are missing"):
        read_volume(tmp_path / "a.mhd")
    (tmp_path / "s03.raw").unlink()
    with pytest.raises(UnreadableVolume, match=r"data file 's03\.raw' is missing"):
        read_volume(tmp_path / "a.mhd")
    assert capfd.readouterr().err == ""


def test_metaimage_in_other_writings(tmp_path, hounsfield):
    swapped = hounsfield.astype(">i2").tobytes()
    path = meta(tmp_path / "a.mha", "LOCAL", swapped, "ElementByteOrderMSB = True\n")
    with pytest.raises(UnreadableVolume, match="gives two byte orders"):
        read_volume(path)
    other = b"BinaryDataByteOrderMSB = False\n"
    path.write_bytes(path.read_bytes().replace(other, b""))
    is_plain(path, hounsfield)
    (tmp_path / "b.raw").write_bytes(b"head" + hounsfield.tobytes())
    for skip in ("4", "-1"):
        path = meta(tmp_path / "b.mhd", "b.raw", extra=f"HeaderSize = {skip}\n")
        is_plain(path, hounsfield)
    words = " ".join(str(v) for v in hounsfield.ravel()).encode()
    text = META.format(data="LOCAL", extra="").replace("Data = True", "Data = False")
    (tmp_path / "c.mha").write_bytes(text.encode() + words)
    is_plain(tmp_path / "c.mha", hounsfield)
    (tmp_path / "c.mha").write_bytes(text.encode() + words[:-50])
    with pytest.raises(UnreadableVolume, match="of 15360 values are missing"):
        read_volume(tmp_path / "c.mha")


def test_metaimage_is_placed_as_simpleitk_places_it(tmp_path, hounsfield):
    image = sitk.GetImageFromArray(hounsfield)
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.4, 0.9)
    image.SetDirection(turn.GetMatrix())
    image.SetSpacing((0.7, 0.8, 3))
    sitk.WriteImage(image, tmp_path / "a.mha")
    volume = read_volume(tmp_path / "a.mha")
    point = image.TransformIndexToPhysicalPoint((11, 22, 3))
    np.testing.assert_allclose(
        (volume.affine @ (11, 22, 3, 1))[:3], np.array(point) * (-1, -1, 1), atol=1e-5
    )


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
def test_a_bit_that_only_the_checksum_knows(tmp_path, hounsfield, name):
    """Stored blocks hold the bytes as they are, so that a flip still unpacks."""
    path = tmp_path / name
    if name == "a.nrrd":
        plain = hounsfield.tobytes()
        path = nrrd(path, gzip.compress(plain, compresslevel=0), "gzip")
    else:
        nib.save(nib.Nifti1Image(hounsfield.T, np.eye(4)), tmp_path / "a.nii")
        plain = (tmp_path / "a.nii").read_bytes()
        path.write_bytes(gzip.compress(plain, compresslevel=0))
    np.testing.assert_array_equal(read_volume(path).array, hounsfield)
    content = bytearray(path.read_bytes())
    content[-500] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableVolume, match="incorrect data check"):
        read_volume(path)


def test_the_rest_of_a_file_with_frames_is_looked_at_too(tmp_path, hounsfield):
    frames = np.stack([hounsfield, hounsfield + 1])
    nib.save(nib.Nifti1Image(frames.T, np.eye(4)), tmp_path / "a.nii")
    content = bytearray(
        gzip.compress((tmp_path / "a.nii").read_bytes(), compresslevel=0)
    )
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    np.testing.assert_array_equal(read_volume(path, frame=1).array, frames[1])
    content[-500] ^= 1  # in frame 1
    path.write_bytes(content)
    with pytest.raises(UnreadableVolume, match="incorrect data check"):
        read_volume(path, frame=0)


def test_gzip_members_strung_together_are_one_file(tmp_path, hounsfield):
    nib.save(nib.Nifti1Image(hounsfield.T, np.eye(4)), tmp_path / "a.nii")
    plain = (tmp_path / "a.nii").read_bytes()
    pieces = [gzip.compress(plain[i : i + 7000]) for i in range(0, len(plain), 7000)]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(pieces) + bytes(512))
    volume = read_volume(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(volume.array, hounsfield)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("raw", bytes), ("gzip", gzip.compress)]
)
def test_detached_nrrd(tmp_path, hounsfield, encoding, pack):
    body = pack(hounsfield.tobytes())
    (tmp_path / "a.raw").write_bytes(body)
    path = nrrd(tmp_path / "a.nhdr", encoding=encoding, more="data file: a.raw")
    is_plain(path, hounsfield)
    (tmp_path / "a.raw").write_bytes(body[:-60])
    with pytest.raises(UnreadableVolume, match=r"'a\.raw' .*(missing|cut short)"):
        read_volume(path)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(UnreadableVolume, match=r"data file 'a\.raw' is missing"):
        read_volume(path)


@pytest.mark.parametrize("name", ["../a.raw", "/etc/hostname"])
def test_headers_name_no_files_of_other_folders(tmp_path, hounsfield, name):
    (tmp_path / "a.raw").write_bytes(hounsfield.tobytes())
    (tmp_path / "in").mkdir()
    for path in (
        nrrd(tmp_path / "in" / "a.nhdr", more=f"data file: {name}"),
        meta(tmp_path / "in" / "a.mhd", name),
    ):
        with pytest.raises(UnreadableVolume, match="lies outside its folder"):
            read_volume(path)


def test_data_files_may_be_links(tmp_path, hounsfield):
    """DataLad keeps files under their checksums, and links to them by name."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "key").write_bytes(hounsfield.tobytes())
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.raw").symlink_to("../store/key")
    is_plain(meta(tmp_path / "s" / "a.mhd", "a.raw"), hounsfield)
    is_plain(nrrd(tmp_path / "s" / "a.nhdr", more="data file: a.raw"), hounsfield)


def test_names_that_the_system_refuses_are_an_error_of_ours(tmp_path):
    (tmp_path / "loop.nii").symlink_to("loop.nii")
    with pytest.raises(UnreadableVolume, match="no such file"):
        read_volume(tmp_path / "loop.nii")
    with pytest.raises(UnreadableVolume, match="file name too long"):
        read_volume(tmp_path / ("a" * 300 + ".nii"))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.nii")
    with pytest.raises(UnreadableVolume, match="it is no regular file"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a\0b.raw", "x" * 300 + ".raw", "."])
def test_names_that_no_file_can_have_are_missing_files(tmp_path, name):
    for path in (
        nrrd(tmp_path / "a.nhdr", more=f"data file: {name}"),
        meta(tmp_path / "a.mhd", name),
    ):
        with pytest.raises(UnreadableVolume, match="its data file '.*' is missing"):
            read_volume(path)


# Refusals give the true reason, and what can be read safely is read -------------


def test_long_header_is_a_header(tmp_path, hounsfield):
    extra = "".join(f"Seq_Frame{i:04}_ImageStatus = OK\n" for i in range(2000))
    is_plain(meta(tmp_path / "a.mha", "LOCAL", hounsfield.tobytes(), extra), hounsfield)


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_layers_of_a_segmentation_are_no_colours(tmp_path, layers):
    array = np.arange(8 * 40 * 48 * layers, dtype=np.uint32) % 251
    array = array.astype(np.uint8).reshape(8, 40, 48, layers)
    path = nrrd(tmp_path / "a.nrrd", array.tobytes(), layers=layers)
    is_plain(path, array[..., 0], f"holds {layers} frames; frame 0")
    np.testing.assert_array_equal(read_volume(path, frame=1).array, array[..., 1])
    if layers == 3:
        path = nrrd(path, array.tobytes(), layers=3, kind="RGB-color")
        assert read_volume(path).is_colour


def test_packing_that_cannot_be_undone_is_named(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", b"BZh91AY&SY" + bytes(100), "bzip2")
    with pytest.raises(UnreadableVolume, match="packed with bzip2.*Save it with gzip"):
        read_volume(path)


@pytest.mark.parametrize("packed", [False, True])
def test_gzip_is_told_by_its_mark_and_not_by_the_name(tmp_path, hounsfield, packed):
    nib.save(nib.Nifti1Image(hounsfield.T, np.eye(4)), tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    path = tmp_path / ("b.nii" if packed else "b.nii.gz")
    path.write_bytes(gzip.compress(content) if packed else content)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, hounsfield)
    said = "packed with gzip" if packed else "not packed"
    assert volume.notices[0].startswith(f"The file is {said}, though it is named")


@pytest.mark.parametrize("broken", [0.0, np.nan])
def test_qform_steps_in_for_a_sform_that_is_no_grid(tmp_path, hounsfield, broken):
    affine = np.diag([-0.7, -0.8, 3.0, 1.0])
    affine[:3, 3] = (-10, -20, -30)
    image = nib.Nifti1Image(hounsfield.T, affine)
    image.set_qform(affine, code=1)
    nib.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[254:256] = b"\1\0"
    content[280:328] = np.full(12, broken, "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    is_plain(tmp_path / "a.nii", hounsfield, "the qform is used")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd", "a.npz", "a"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "Git LFS"),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "HTML page"),
        (b"\n <HTML><head>", "HTML page"),
        (b"/annex/objects/MD5-s12--ab\n", "git-annex pointer"),
        (b"%PDF-1.7 ...", "PDF document"),
        (b"\0\x05\x16\x07" + bytes(100), r"macOS \._ file"),
        (b"\xfd7zXZ\0" + bytes(100), "packed with xz"),
    ],
)
def test_what_stands_in_for_a_file_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableVolume, match=f"it is .*{said}"):
        read_volume(tmp_path / name)


# Declared sizes before memory ----------------------------------------------------


@pytest.mark.parametrize(
    "sizes",
    ["100000 100000 100", "-1 40 8", "0 40 8", ".4 20 6", "nan 1 1", "48 40", "9" * 99],
)
def test_sizes_that_cannot_be_are_refused_before_memory(tmp_path, sizes):
    text = META.format(data="LOCAL", extra="").replace("48 40 8", sizes)
    (tmp_path / "a.mha").write_bytes(text.encode() + bytes(100))
    text = NRRD.format(
        type="short",
        dimension=3,
        sizes=sizes,
        none="",
        kinds="",
        encoding="raw",
        more="",
    )
    (tmp_path / "a.nrrd").write_bytes(text.encode() + bytes(100))
    for name in ("a.mha", "a.nrrd"):
        with pytest.raises(UnreadableVolume, match="dimensions of the sizes|missing"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii.gz"])
def test_a_stream_that_unpacks_without_end_is_refused(tmp_path, name):
    """80 MB of zeros where a header declares 30 kB."""
    plain = bytes(80 << 20)
    path = tmp_path / name
    if name == "a.mha":
        meta(path, "LOCAL", zlib.compress(plain), "CompressedData = True\n")
    elif name == "a.nrrd":
        nrrd(path, gzip.compress(plain), "gzip")
    else:
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), path)
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + plain))
    with pytest.raises(UnreadableVolume, match="it unpacks to more than the"):
        read_volume(path)
