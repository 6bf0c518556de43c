"""NIfTI headers that contradict themselves, and gzip in odd pieces."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes import Modality, read_labels, read_volume
from napari_qmedsam.volumes.registry import opens

VALUES = (np.arange(7 * 6 * 5).reshape(7, 6, 5) % 90 + 10).astype(np.int16)
AFFINE = np.array([[0.7, 0, 0, -10], [0, 0.8, 0, -20], [0, 0, 3, -30], [0, 0, 0, 1]])
SPACING = (3.0, 0.8, 0.7)


@pytest.fixture
def write(tmp_path):
    """Write a file; `pokes` are (byte, format, *values) into its header."""

    def call(name="a.nii", *pokes, affine=AFFINE, change=lambda header: None):
        image = nib.Nifti1Image(VALUES, affine)
        change(image.header)
        nib.save(image, tmp_path / "made.nii")
        content = bytearray((tmp_path / "made.nii").read_bytes())
        for byte, kind, *values in pokes:
            struct.pack_into(kind, content, byte, *values)
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return call


def told(volume) -> str:
    """What is said beside the guess of the modality."""
    np.testing.assert_array_equal(volume.array, VALUES.T)
    return " ".join(n for n in volume.notices if "modality" not in n)


def test_voxels_without_an_offset_follow_the_header(write):
    volume = read_volume(write("a.nii", (108, "<f", 0.0)))
    assert "does not say where its voxels begin" in told(volume)


def test_orientations_that_differ_are_told(write):
    def mirror(header):
        header.set_qform(np.diag([-0.7, 0.8, 3, 1]), 1)

    volume = read_volume(write(change=mirror))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    assert "The sform and the qform differ by up to" in told(volume)


def test_lengths_that_differ_are_told(write):
    pokes = [(80, "<3f", 1, 1, 1), (252, "<hh", 0, 2)]
    volume = read_volume(write("a.nii", *pokes))
    np.testing.assert_allclose(volume.spacing_mm, SPACING, rtol=1e-6)
    assert "but pixdim of 1 x 1 x 1; the sform is used" in told(volume)


def test_an_sform_of_zeros_gives_way_to_pixdim(write):
    pokes = [(280, "<12f", *[0] * 12), (252, "<hh", 0, 2)]
    volume = read_volume(write("a.nii", *pokes))
    np.testing.assert_allclose(volume.spacing_mm, SPACING, rtol=1e-6)
    assert "the pixdim is used" in told(volume)


@pytest.mark.parametrize("factor", [1e-4, 1e5])
def test_voxels_that_no_scanner_makes_are_told(write, factor):
    affine = np.diag([factor] * 3 + [1]) @ AFFINE
    assert "see that the file gives lengths" in told(read_volume(write(affine=affine)))


@pytest.mark.parametrize("suffix", ["nii", "nrrd", "mha", "tif"])
def test_numbers_of_labels_that_float32_does_not_hold(tmp_path, suffix):
    """The atlas of the Allen Institute has such, in files of doubles."""
    labels = np.zeros((2, 4, 5))
    labels[0], labels[1] = 614454277, 614454273
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, labels)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(labels), path)
    np.testing.assert_array_equal(read_labels(path).array, labels)
    assert read_volume(path).array.dtype == np.float32


def test_lengths_below_zero_are_told(write):
    """nibabel leaves their signs out where ITK mirrors."""
    volume = read_volume(write("a.nii", (80, "<f", -0.7), (252, "<hh", 1, 0)))
    assert "pixdim holds lengths below 0" in told(volume)
    assert volume.spacing_mm[2] == pytest.approx(0.7)


def test_ct_with_nothing_around_it_is_ct(tmp_path):
    values = VALUES.astype(np.float32) - 1000.5
    values[0] = np.nan
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").modality is Modality.CT


def test_bytes_after_the_voxels_are_told(tmp_path, write):
    file = write()
    file.write_bytes(file.read_bytes() + bytes(20))
    assert "20 bytes after the voxels" in told(read_volume(file))
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert "20 bytes after the voxels" in told(read_volume(packed))


def test_a_header_may_be_in_several_pieces_of_gzip(tmp_path, write):
    raw = write().read_bytes()
    pieces = tmp_path / "b.nii.gz"
    pieces.write_bytes(gzip.compress(raw[:100]) + gzip.compress(raw[100:]))
    assert told(read_volume(pieces)) == ""


@pytest.mark.parametrize(("place", "cause"), [(-6, "data check"), (-2, "length check")])
def test_damage_within_the_first_bytes_is_called_damage(tmp_path, write, place, cause):
    content = bytearray(gzip.compress(write().read_bytes()))
    content[place] ^= 1
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(content)
    with pytest.raises(UnreadableVolume, match=f"the file is damaged.*{cause}"):
        read_volume(packed)


@pytest.mark.parametrize(
    ("pokes", "reason"),
    [
        ([(40, "<h", 9)], "its header gives 9 dimensions"),
        ([(40, "<h", 0)], "its header gives 0 dimensions"),
        ([(68, "<h", 3006)], "it is a CIFTI file"),
        ([(344, "4s", b"ni1\0")], r"half of a pair of \.hdr and \.img"),
    ],
)
def test_the_true_cause_is_named(write, pokes, reason):
    with pytest.raises(UnreadableVolume, match=reason):
        read_volume(write("a.nii", *pokes))


def test_half_of_a_pair_is_left_to_other_readers(tmp_path):
    nib.save(nib.Nifti1Pair(VALUES, AFFINE), tmp_path / "a.hdr")
    with pytest.raises(UnreadableVolume, match="half of a pair"):
        read_volume(tmp_path / "a.hdr")
    assert not opens(tmp_path / "a.hdr")


def test_a_header_cut_short_is_called_so(write):
    file = write()
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UnreadableVolume, match="its header is cut short"):
        read_volume(file)


def test_the_path_of_git_annex_is_called_so(tmp_path):
    (tmp_path / "a.nii.gz").write_text("../.git/annex/objects/x/y/MD5E-s1--a.nii.gz")
    with pytest.raises(UnreadableVolume, match="it is a git-annex pointer"):
        read_volume(tmp_path / "a.nii.gz")
