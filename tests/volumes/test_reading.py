import logging
import subprocess
import sys
import textwrap

import nibabel as nib
import numpy as np
import pytest

from napari_qmedsam.errors import QMedSAMError, UnreadableVolume
from napari_qmedsam.volumes import Modality, Volume, Window, read_volume
from napari_qmedsam.volumes.cleaning import guess_modality, replace_non_finite


def save(path, array):
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.eye(4)), path)
    return path


def test_nan_and_infinities_become_the_smallest_finite_value(tmp_path, caplog):
    array = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
    expected = array.copy()
    for index, value in (
        ((0, 0, 1), np.nan),
        ((1, 2, 3), np.inf),
        ((0, 1, 0), -np.inf),
    ):
        array[index] = value
        expected[index] = 1
    with caplog.at_level(logging.WARNING):
        volume = read_volume(save(tmp_path / "a.nii", array), modality=Modality.MR)
    np.testing.assert_array_equal(volume.array, expected)
    (notice,) = volume.notices
    assert notice.startswith("3 voxels (12 %) were NaN or infinite")
    assert notice.endswith("smallest finite value, 1.")
    assert notice in caplog.text


def test_slice_of_nan_is_repaired_and_volume_of_nan_refused(tmp_path):
    array = np.ones((2, 3, 4), np.float32)
    array[0] = np.nan
    assert (read_volume(save(tmp_path / "a.nii", array)).array == 1).all()
    array[:] = np.nan
    with pytest.raises(UnreadableVolume, match="not one voxel is a finite number"):
        read_volume(save(tmp_path / "b.nii", array))


def test_float64_beyond_float32_counts_as_infinite(tmp_path):
    array = np.ones((2, 3, 4))
    array[0, 0, 0] = 1e300
    volume = read_volume(save(tmp_path / "a.nii", array))
    assert volume.array.max() == 1
    assert volume.notices[0].startswith("1 voxels")


def test_read_only_array_is_not_changed():
    array = np.array([[[np.nan, 2.0]]], np.float32)
    array.setflags(write=False)
    repaired, _ = replace_non_finite(array)
    np.testing.assert_array_equal(repaired, [[[2, 2]]])
    assert np.isnan(array[0, 0, 0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([-1000, 40, 0, 7], np.int16), Modality.CT),
        (np.array([-1000, 40, 0, 7], np.float32), Modality.CT),
        (np.array([-1000.5, 40, 0, 7], np.float32), Modality.CT),
        (np.array([-199, 40, 0, 7], np.int16), Modality.MR),
        (np.array([-200, 40, 0, 7], np.int16), Modality.CT),
        (np.array([-4096, 40, 0, 7], np.int16), Modality.CT),
        (np.array([-4097, 40, 0, 7], np.int16), Modality.MR),
        (np.array([0, 40, 9, 7], np.uint16), Modality.MR),
    ],
)
def test_modality_is_guessed_from_the_values(values, expected):
    assert guess_modality(values.reshape(2, 2, 1)) is expected


def test_single_grey_slice_is_other_and_colour_is_colour():
    assert guess_modality(np.ones((1, 2, 2), np.uint8)) is Modality.OTHER
    assert guess_modality(np.ones((1, 2, 2, 3), np.uint8)) is Modality.COLOUR


def test_a_guess_is_told_and_what_is_known_is_not(tmp_path, ct):
    fractional = ct + np.float32(0.25)
    volume = read_volume(save(tmp_path / "a.nii", fractional))
    assert volume.modality is Modality.CT
    (notice,) = volume.notices
    assert "by its values it was taken for CT. modality= or --modality" in notice
    for modality in Modality:
        assert read_volume(tmp_path / "a.nii", modality=modality).notices == ()
    np.savez(tmp_path / "b.npz", imgs=np.abs(ct), spacing=np.ones(3))
    assert read_volume(tmp_path / "b.npz").notices == ()


def test_given_modality_wins(tmp_path, ct):
    path = save(tmp_path / "a.nii", ct)
    assert read_volume(path, modality=Modality.PET).modality is Modality.PET


def test_missing_file_is_named_with_its_folder(tmp_path):
    with pytest.raises(UnreadableVolume, match=r"'a\.nii'.*no such file in '.*'"):
        read_volume(tmp_path / "a.nii")


def test_empty_file_is_refused(tmp_path):
    for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.npz", "a.png", "a.dcm"):
        (tmp_path / name).touch()
        with pytest.raises(UnreadableVolume, match="the file is empty"):
            read_volume(tmp_path / name)


def test_unknown_suffix_lists_what_is_readable(tmp_path):
    (tmp_path / "a.docx").write_text("text")
    with pytest.raises(UnreadableVolume, match=r"'\.docx' is not known.*NIfTI, DICOM"):
        read_volume(tmp_path / "a.docx")


def test_series_is_for_dicom_only(tmp_path, ct):
    with pytest.raises(UnreadableVolume, match="only DICOM holds series"):
        read_volume(save(tmp_path / "a.nii", ct), series="1.2")


def test_suffix_in_capitals_and_path_as_text_are_read(tmp_path, ct):
    path = save(tmp_path / "a.nii", ct).rename(tmp_path / "A.NII")
    assert read_volume(str(path)).shape == ct.shape


def test_errors_are_of_both_families(tmp_path):
    for family in (QMedSAMError, ValueError):
        with pytest.raises(family):
            read_volume(tmp_path / "none.nii")


def test_import_loads_no_heavy_library():
    code = """
        import sys
        import napari_qmedsam.volumes
        heavy = {"nibabel", "SimpleITK", "cv2", "torch", "scipy", "tifffile", "napari"}
        sys.exit(", ".join(heavy & set(sys.modules)) or 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


needs_proc = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="peak memory is read from /proc"
)

PEAK = r"""
import re, sys
from pathlib import Path
from napari_qmedsam.volumes import read_volume

def kilobytes(name):
    status = Path("/proc/self/status").read_text()
    return int(re.search(name + r":\s+(\d+) kB", status).group(1))

read_volume(sys.argv[1])
before = kilobytes("VmRSS")  # its peak may be that of an import
volume = read_volume(sys.argv[2])
print((kilobytes("VmHWM") - before) * 1024 / volume.array.nbytes)
"""


def peak_ratio(small, large):
    """Peak memory of reading `large`, in sizes of its array, over the baseline.

    Not ru_maxrss: on Linux a process starts with the peak of its parent.
    """
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(small), str(large)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def write_pair(folder, shape, suffix):
    """Write a small and a large CT; noise, so that gzip has work to do."""
    import SimpleITK as sitk

    noise = np.random.default_rng(0).integers(-1000, 1000, shape[1:], np.int16)
    paths = []
    for name, depth in (("small", 2), ("large", shape[0])):
        image = sitk.GetImageFromArray(np.broadcast_to(noise, (depth, *shape[1:])))
        paths.append(folder / f"{name}{suffix}")
        sitk.WriteImage(image, paths[-1], suffix == ".nii.gz")
    return paths


@needs_proc
@pytest.mark.parametrize("suffix", [".nii", ".nrrd"])
def test_reading_peaks_at_three_arrays(tmp_path, suffix):
    ratio = peak_ratio(*write_pair(tmp_path, (80, 512, 512), suffix))
    assert 0.9 < ratio < 3.0


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_reading_a_whole_ct_peaks_at_three_arrays(tmp_path, suffix):
    ratio = peak_ratio(*write_pair(tmp_path, (300, 512, 512), suffix))
    assert 0.9 < ratio < 3.0


def test_a_chosen_window_goes_before_the_default():
    volume = Volume(np.zeros((1, 2, 2), np.int16), modality=Modality.CT)
    assert volume.window_or_default(None) == volume.default_window()
    assert volume.window_or_default(Window(0, 9)) == Window(0, 9)
