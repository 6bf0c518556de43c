import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes import Modality, read_volume, write_labels, write_volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def save(path, array, affine, **header):
    """Save a (Z, Y, X) array with nibabel."""
    image = nib.Nifti1Image(array.transpose(2, 1, 0), affine, dtype=array.dtype)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def patch(path, offset, data):
    """Overwrite bytes of a file."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


def sitk_affine(image):
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return LPS @ affine


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_array_is_the_transposed_storage(tmp_path, ct, oblique, suffix):
    volume = read_volume(save(tmp_path / f"a{suffix}", ct, oblique))
    np.testing.assert_array_equal(volume.array, ct)
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous
    assert volume.array.flags.writeable
    np.testing.assert_allclose(volume.affine, oblique, atol=1e-5)
    np.testing.assert_allclose(volume.spacing_mm, (2.5, 0.9, 0.7), rtol=1e-6)
    assert volume.modality is Modality.CT
    (notice,) = volume.notices
    assert "taken for CT" in notice


def test_nibabel_and_simpleitk_agree_in_every_orientation(tmp_path, ct, affine):
    path = save(tmp_path / "a.nii.gz", ct, affine)
    volume = read_volume(path)
    image = sitk.ReadImage(path)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.affine, sitk_affine(image), atol=1e-4)


def test_written_labels_read_back_with_simpleitk(tmp_path, ct, labels, affine):
    source = read_volume(save(tmp_path / "a.nii.gz", ct, affine))
    image = sitk.ReadImage(write_labels(labels, source, tmp_path / "b.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_allclose(sitk_affine(image), affine, atol=1e-4)


def test_volume_from_elsewhere_reads_back_with_simpleitk(tmp_path, ct, affine):
    from napari_qmedsam.volumes import Volume

    made = Volume(ct, (2.5, 0.9, 0.7), affine)
    image = sitk.ReadImage(write_volume(made, tmp_path / "b.nii"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ct)
    np.testing.assert_allclose(sitk_affine(image), affine, atol=1e-4)


@pytest.mark.parametrize("codes", [(2, 0), (0, 1), (1, 3), (0, 0), (4, 4)])
def test_codes_units_and_both_affines_survive(tmp_path, ct, labels, oblique, codes):
    image = nib.Nifti1Image(ct.transpose(2, 1, 0), None)
    other = oblique.copy()
    other[:3, 3] += 5
    image.header.set_zooms((0.7, 0.9, 2.5))
    image.header.set_sform(oblique, codes[0])
    image.header.set_qform(other, codes[1])
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "a.nii")
    source = read_volume(tmp_path / "a.nii")
    back = nib.load(write_labels(labels, source, tmp_path / "b.nii.gz"))
    assert (int(back.header["sform_code"]), int(back.header["qform_code"])) == codes
    stored = nib.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(back.affine, stored.affine)
    np.testing.assert_array_equal(back.header.get_sform(), stored.header.get_sform())
    np.testing.assert_array_equal(back.header.get_qform(), stored.header.get_qform())
    assert back.header.get_xyzt_units() == ("mm", "sec")
    assert back.header["sizeof_hdr"] == 348


def test_header_without_orientation_is_reported(tmp_path, ct):
    image = nib.Nifti1Image(ct.transpose(2, 1, 0), None)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert "gives no orientation" in volume.notices[0]
    np.testing.assert_array_equal(volume.affine, nib.load(tmp_path / "a.nii").affine)


def test_cropped_grid_is_written_with_its_own_affine(tmp_path, ct, labels, oblique):
    from dataclasses import replace

    source = read_volume(save(tmp_path / "a.nii", ct, oblique))
    moved = source.affine.copy()
    moved[:3, 3] += moved[:3, 2]
    crop = replace(source, array=source.array[1:], affine=moved)
    back = nib.load(write_labels(labels[1:], crop, tmp_path / "b.nii"))
    np.testing.assert_allclose(back.affine, moved, atol=1e-5)
    assert back.header["sform_code"] == 2


def test_sheared_affine_is_kept_in_the_sform(tmp_path, ct):
    sheared = np.diag([1.0, 1.0, 2.0, 1.0])
    sheared[0, 2] = 0.5
    volume = read_volume(save(tmp_path / "a.nii", ct, sheared))
    np.testing.assert_allclose(volume.affine, sheared)
    from dataclasses import replace

    unsourced = replace(volume, source=type(volume.source)())
    back = nib.load(write_volume(unsourced, tmp_path / "b.nii"))
    np.testing.assert_allclose(back.affine, sheared)
    assert back.header["qform_code"] == 0


def test_nifti2_and_big_endian_are_read(tmp_path, ct, oblique):
    nib.save(nib.Nifti2Image(ct.transpose(2, 1, 0), oblique), tmp_path / "a.nii")
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    big = nib.Nifti1Image(ct.transpose(2, 1, 0), oblique, header)
    nib.save(big, tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes()[:4] == b"\0\0\x01\x5c"
    for name in ("a.nii", "b.nii"):
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.array, ct)
        assert volume.array.dtype.isnative
        back = nib.load(write_labels(np.abs(ct), volume, tmp_path / "c.nii"))
        np.testing.assert_allclose(back.affine, oblique, atol=1e-5)


def test_whole_slope_and_intercept_keep_integers(tmp_path):
    stored = np.arange(24, dtype=np.uint16).reshape(2, 3, 4) * 100
    path = save(tmp_path / "a.nii", stored, np.eye(4))
    patch(path, 112, np.array([1, -1024], "<f4").tobytes())
    volume = read_volume(path)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, stored.astype(int) - 1024)
    np.testing.assert_array_equal(
        volume.array, nib.load(path).get_fdata().transpose(2, 1, 0)
    )
    assert volume.modality is Modality.CT


def test_whole_slope_that_overflows_every_small_type_is_float(tmp_path):
    stored = np.array([[[0, 40000]]], dtype=np.uint16)
    path = save(tmp_path / "a.nii", stored, np.eye(4))
    patch(path, 112, np.array([100000, 1], "<f4").tobytes())
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, stored * 1e5 + 1)


def test_fractional_slope_gives_float32(tmp_path, ct):
    path = save(tmp_path / "a.nii", ct, np.eye(4))
    patch(path, 112, np.array([0.5, 3], "<f4").tobytes())
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, ct * 0.5 + 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_type_is_kept_without_a_slope(tmp_path, ct, dtype):
    path = save(tmp_path / "a.nii", np.abs(ct).astype(dtype), np.eye(4))
    assert read_volume(path).array.dtype == dtype


def test_float64_becomes_float32(tmp_path, ct):
    path = save(tmp_path / "a.nii", ct / 3.0, np.eye(4))
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, ct / 3.0, rtol=1e-6)


CT = Modality.CT
"""Given, so that no notice tells a guess."""


def save_4d(path, ct):
    frames = np.stack([ct, ct + 1, ct + 2])  # (T, Z, Y, X)
    nib.save(nib.Nifti1Image(frames.transpose(3, 2, 1, 0), np.eye(4)), path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_chosen_frame_is_read(tmp_path, ct, suffix):
    volume = read_volume(save_4d(tmp_path / f"a{suffix}", ct), frame=2, modality=CT)
    np.testing.assert_array_equal(volume.array, ct + 2)
    assert volume.notices == ()


def test_frame_zero_is_read_with_a_notice(tmp_path, ct, caplog):
    volume = read_volume(save_4d(tmp_path / "a.nii", ct), modality=CT)
    np.testing.assert_array_equal(volume.array, ct)
    assert volume.notices == ("The file holds 3 frames; frame 0 was read.",)
    assert "a.nii: The file holds 3 frames" in caplog.text


def test_labels_of_a_frame_are_3d(tmp_path, ct, labels):
    volume = read_volume(save_4d(tmp_path / "a.nii", ct), frame=1)
    back = nib.load(write_labels(labels, volume, tmp_path / "b.nii"))
    assert back.shape == (5, 6, 4)


@pytest.mark.parametrize("frame", [-1, 3])
def test_frame_out_of_range_is_refused(tmp_path, ct, frame):
    path = save_4d(tmp_path / "a.nii", ct)
    with pytest.raises(UnreadableVolume, match=f"no frame {frame}.*frames 0 to 2"):
        read_volume(path, frame=frame)


def test_frame_of_a_plain_volume_is_refused(tmp_path, ct):
    path = save(tmp_path / "a.nii", ct, np.eye(4))
    assert read_volume(path, frame=0).shape == (4, 6, 5)
    with pytest.raises(UnreadableVolume, match="only frame 0"):
        read_volume(path, frame=1)


def test_five_dimensions_count_as_frames(tmp_path, ct):
    vectors = np.stack([ct, ct + 1], axis=0).transpose(3, 2, 1, 0)[:, :, :, None, :]
    nib.save(nib.Nifti1Image(vectors, np.eye(4)), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii", frame=1)
    np.testing.assert_array_equal(volume.array, ct + 1)


def test_two_dimensions_become_one_slice_and_go_back(tmp_path, ct):
    nib.save(nib.Nifti1Image(ct[0].T, np.eye(4)), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, ct[:1])
    back = nib.load(write_labels(np.ones((1, 6, 5), int), volume, tmp_path / "b.nii"))
    assert back.shape == (5, 6)


def test_rgb_is_colour_and_round_trips(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), np.uint8)
    rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    stored = colours.view(rgb)[..., 0].transpose(2, 1, 0)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, colours)
    assert volume.modality is Modality.COLOUR
    again = read_volume(write_volume(volume, tmp_path / "b.nii"))
    np.testing.assert_array_equal(again.array, colours)


def test_rgba_loses_its_transparency_with_a_notice(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), np.uint8)
    rgba = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])
    stored = colours.view(rgba)[..., 0].transpose(2, 1, 0)
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, colours[..., :3])
    assert volume.notices == ("Transparency was dropped.",)


def test_microns_are_read_as_mm_and_written_as_microns(tmp_path, ct, labels):
    image = nib.Nifti1Image(ct.transpose(2, 1, 0), np.diag([500.0, 500, 2000, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.spacing_mm == (2.0, 0.5, 0.5)
    assert "units of 0.001 mm" in volume.notices[0]
    back = nib.load(write_labels(labels, volume, tmp_path / "b.nii"))
    np.testing.assert_allclose(np.diag(back.affine), (500, 500, 2000, 1))


def test_unknown_code_of_units_means_mm(tmp_path, ct, labels):
    path = save(tmp_path / "a.nii", ct, np.diag([0.7, 0.9, 2.5, 1]))
    patch(path, 123, b"\x47")
    volume = read_volume(path)
    assert volume.spacing_mm == pytest.approx((2.5, 0.9, 0.7))
    assert write_labels(labels, volume, tmp_path / "b.nii").exists()


def test_zero_spacing_is_refused(tmp_path, ct):
    path = save(tmp_path / "liver.nii.gz", ct, np.eye(4))
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[84:88] = bytes(4)
    path.write_bytes(gzip.compress(raw))
    expected = (
        r"Cannot read 'liver\.nii\.gz': spacing along y is 0 mm\. "
        r"Re-export it with a valid header\."
    )
    with pytest.raises(UnreadableVolume, match=expected):
        read_volume(path)


def test_sform_column_of_zeros_is_refused(tmp_path, ct):
    path = save(tmp_path / "a.nii", ct, np.eye(4))
    patch(path, 280, bytes(12))
    with pytest.raises(UnreadableVolume, match="spacing along x is 0 mm"):
        read_volume(path)


def test_singular_affine_is_refused(tmp_path, ct):
    path = save(tmp_path / "a.nii", ct, np.eye(4))
    patch(path, 280, np.array([1, 1, 0, 0, 0, 0, 0, 0], "<f4").tobytes())
    with pytest.raises(UnreadableVolume, match="affine is singular"):
        read_volume(path)


def test_affine_with_nan_is_refused(tmp_path, ct):
    path = save(tmp_path / "a.nii", ct, np.eye(4))
    patch(path, 280, np.array([np.nan], "<f4").tobytes())
    with pytest.raises(UnreadableVolume, match="not numbers"):
        read_volume(path)


def test_complex_voxels_are_refused(tmp_path, ct):
    save(tmp_path / "a.nii", ct.astype(np.complex64), np.eye(4))
    with pytest.raises(UnreadableVolume, match="complex64, not real numbers"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("keep", [10, 200, 360, 450])
def test_cut_short_file_is_refused_quietly(tmp_path, ct, keep, capfd):
    path = save(tmp_path / "a.nii", ct, np.eye(4))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnreadableVolume, match=r"Cannot read 'a\.nii'"):
        read_volume(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("keep", [5, 30, 150, 250])
def test_cut_short_gzip_is_refused_quietly(tmp_path, ct, keep, capfd):
    path = save(tmp_path / "a.nii.gz", ct, np.eye(4))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnreadableVolume, match=r"Cannot read 'a\.nii\.gz'"):
        read_volume(path)
    assert capfd.readouterr().err == ""


def test_absurd_shape_is_refused_without_allocating(tmp_path, ct):
    path = save(tmp_path / "a.nii", ct, np.eye(4))
    patch(path, 42, np.array([32000, 32000, 32000], "<i2").tobytes())
    with pytest.raises(UnreadableVolume, match="its header needs"):
        read_volume(path)


def test_other_content_is_refused(tmp_path):
    for name in ("a.nii", "a.nii.gz"):
        (tmp_path / name).write_bytes(b"not a volume" * 100)
        with pytest.raises(UnreadableVolume, match="Cannot read"):
            read_volume(tmp_path / name)


def test_real_ct_equals_nibabel_and_keeps_its_place(shared_data, tmp_path):
    path = shared_data / "ct_abdomen_3mm.nii.gz"
    volume = read_volume(path)
    image = nib.load(path)
    np.testing.assert_array_equal(
        volume.array, np.asanyarray(image.dataobj).transpose(2, 1, 0)
    )
    assert volume.modality is Modality.CT
    (notice,) = volume.notices
    assert "taken for CT" in notice
    back = nib.load(
        write_labels(np.zeros(volume.shape, int), volume, tmp_path / "b.nii.gz")
    )
    np.testing.assert_array_equal(back.affine, image.affine)
    assert back.header["sform_code"] == 2
    assert back.header["qform_code"] == 0
