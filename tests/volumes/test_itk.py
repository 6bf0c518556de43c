import numpy as np
import pytest
import SimpleITK as sitk

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes import (
    Modality,
    Volume,
    read_volume,
    write_labels,
    write_volume,
)
from napari_qmedsam.volumes.grid import affine_from_geometry, geometry_from_affine

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")


def make_image(array, affine):
    image = sitk.GetImageFromArray(array)
    spacing, origin, direction = geometry_from_affine(affine)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def test_geometry_by_hand():
    affine = affine_from_geometry(
        (2.0, 3.0, 4.0), (10.0, 20.0, 30.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)
    )
    # ITK's (x, y) grow to Left and Posterior, nibabel's to Right and Anterior.
    np.testing.assert_array_equal(
        affine, [[-2, 0, 0, -10], [0, -3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]]
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_volume_reads_with_affine(tmp_path, ct, oblique, suffix):
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(make_image(ct, oblique), path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ct)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.affine, oblique, atol=1e-5)
    np.testing.assert_allclose(volume.spacing_mm, (2.5, 0.9, 0.7), rtol=1e-6)
    assert volume.modality is Modality.CT
    assert volume.source.format == ("nrrd" if "r" in suffix or "n" in suffix else "mha")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_written_labels_read_back_in_every_orientation(
    tmp_path, ct, labels, affine, suffix
):
    made = Volume(ct, (2.5, 0.9, 0.7), affine)
    image = sitk.ReadImage(write_labels(labels, made, tmp_path / f"b{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    assert image.GetPixelID() == sitk.sitkUInt8
    spacing, origin, direction = geometry_from_affine(affine)
    np.testing.assert_allclose(image.GetSpacing(), spacing, rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), origin, atol=1e-5)
    np.testing.assert_allclose(image.GetDirection(), direction, atol=1e-6)


def test_nrrd_and_nifti_of_one_image_read_alike(tmp_path, ct, affine):
    image = make_image(ct, affine)
    for name in ("a.nrrd", "a.nii.gz"):
        sitk.WriteImage(image, tmp_path / name)
    a, b = (read_volume(tmp_path / name) for name in ("a.nrrd", "a.nii.gz"))
    np.testing.assert_array_equal(a.array, b.array)
    np.testing.assert_allclose(a.affine, b.affine, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_two_dimensions_become_one_slice_and_go_back(tmp_path, ct, suffix):
    image = sitk.GetImageFromArray(ct[0])
    image.SetSpacing((0.5, 2.0))
    image.SetOrigin((3.0, 4.0))
    sitk.WriteImage(image, tmp_path / f"a{suffix}")
    volume = read_volume(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.array, ct[:1])
    assert volume.spacing_mm == (1.0, 2.0, 0.5)
    out = write_labels(np.ones((1, 6, 5), int), volume, tmp_path / f"b{suffix}")
    back = sitk.ReadImage(out)
    assert back.GetSize() == (5, 6)
    assert back.GetSpacing() == (0.5, 2.0)
    assert back.GetOrigin() == (3.0, 4.0)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_frame_of_four_dimensions(tmp_path, ct, suffix):
    path = tmp_path / f"a{suffix}"
    frames = [sitk.GetImageFromArray(ct + i) for i in range(3)]
    sitk.WriteImage(sitk.JoinSeries(frames), path)
    assert "3 frames" in read_volume(path).notices[0]
    np.testing.assert_array_equal(read_volume(path, frame=2).array, ct + 2)
    with pytest.raises(UnreadableVolume, match="no frame 3"):
        read_volume(path, frame=3)


def test_component_of_a_vector_image_is_a_frame(tmp_path, ct):
    image = sitk.Compose(*(sitk.GetImageFromArray(ct + i) for i in range(2)))
    sitk.WriteImage(image, tmp_path / "a.nrrd")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array, ct)
    volume = read_volume(tmp_path / "a.nrrd", frame=1, modality=Modality.CT)
    np.testing.assert_array_equal(volume.array, ct + 1)
    assert volume.notices == ()


@pytest.mark.parametrize("channels", [3, 4])
def test_bytes_in_three_or_four_components_are_colour(tmp_path, channels):
    colours = np.random.default_rng(0).integers(0, 256, (2, 3, 4, channels), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), tmp_path / "a.mha")
    volume = read_volume(tmp_path / "a.mha")
    np.testing.assert_array_equal(volume.array, colours[..., :3])
    assert volume.modality is Modality.COLOUR
    assert bool(volume.notices) == (channels == 4)
    again = read_volume(write_volume(volume, tmp_path / "b.nrrd"))
    np.testing.assert_array_equal(again.array, volume.array)


def test_float64_becomes_float32(tmp_path, ct):
    sitk.WriteImage(sitk.GetImageFromArray(ct / 3.0), tmp_path / "a.mha")
    assert read_volume(tmp_path / "a.mha").array.dtype == np.float32


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_short_file_is_refused_quietly(tmp_path, ct, suffix, compressed, capfd):
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(ct), path, compressed)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UnreadableVolume, match="Cannot read 'a"):
        read_volume(path)
    assert capfd.readouterr().err == ""


def test_missing_bytes_are_counted(tmp_path, ct):
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(ct), path)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UnreadableVolume, match="60 of 240 bytes are missing"):
        read_volume(path)


def test_missing_data_file_is_named(tmp_path, ct, capfd):
    sitk.WriteImage(sitk.GetImageFromArray(ct), tmp_path / "a.mhd")
    (tmp_path / "a.raw").unlink()
    with pytest.raises(UnreadableVolume, match=r"data file 'a\.raw' is missing"):
        read_volume(tmp_path / "a.mhd")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        (".mha", b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1"),
        (".nrrd", b"(0,1,0)", b"(0,0,0)"),
    ],
)
def test_zero_spacing_is_refused(tmp_path, ct, suffix, old, new):
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(ct), path)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(UnreadableVolume, match=r"spacing along y is 0 mm\. Re-export"):
        read_volume(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_content_is_refused_quietly(tmp_path, suffix, capfd):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"not a volume" * 100)
    with pytest.raises(UnreadableVolume, match="Cannot read 'a"):
        read_volume(path)
    assert capfd.readouterr().err == ""


def test_complex_voxels_are_refused(tmp_path, ct):
    image = sitk.GetImageFromArray(ct.astype(np.complex64))
    sitk.WriteImage(image, tmp_path / "a.nrrd")
    with pytest.raises(UnreadableVolume, match="voxels are complex"):
        read_volume(tmp_path / "a.nrrd")


def test_warning_display_of_itk_is_left_as_it_was(tmp_path, ct):
    sitk.WriteImage(sitk.GetImageFromArray(ct), tmp_path / "a.mha")
    for state in (True, False):
        sitk.ProcessObject.SetGlobalWarningDisplay(state)
        read_volume(tmp_path / "a.mha")
        assert sitk.ProcessObject.GetGlobalWarningDisplay() == state
    sitk.ProcessObject.SetGlobalWarningDisplay(True)


def test_real_brain_mr_equals_simpleitk(shared_data):
    path = shared_data / "mr_brain_tumour.nrrd"
    volume = read_volume(path)
    image = sitk.ReadImage(path)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    point = image.TransformIndexToPhysicalPoint((11, 22, 3))
    x, y, z = (volume.affine @ (11, 22, 3, 1))[:3]
    np.testing.assert_allclose((-x, -y, z), point, atol=1e-9)
    assert volume.modality is Modality.MR
