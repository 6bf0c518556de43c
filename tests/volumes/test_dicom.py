import logging

import numpy as np
import pytest
import SimpleITK as sitk

from napari_qmedsam.errors import AmbiguousSeries, UnreadableVolume
from napari_qmedsam.volumes import Modality, list_series, read_volume, write_labels

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
TILTED = ((1.0, 0.0, 0.0), (0.0, np.cos(0.3), np.sin(0.3)))


def write_series(
    folder,
    array,
    *,
    uid="1.2.826.0.1.1",
    description="Abdomen 5mm",
    modality="CT",
    rows=AXIAL,
    positions=None,
    skip=(),
    rescale=None,
):
    """Write one DICOM file per slice; skip leaves slices out."""
    folder.mkdir(exist_ok=True)
    normal = np.cross(*rows)
    origin = np.array([-100.0, -80.0, 40.0])
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    files = []
    for i, pixels in enumerate(array):
        if i in skip:
            continue
        image = sitk.GetImageFromArray(pixels[None])
        image.SetSpacing((0.8, 0.9, 5.0))
        place = origin + 5.0 * i * normal if positions is None else positions[i]
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{uid}.{i + 1}",
            "0008|0060": modality,
            "0008|103e": description,
            "0020|000d": "1.2.826.0.1",
            "0020|000e": uid,
            "0020|0013": str(i + 1),
            "0020|0032": "\\".join(f"{v:.6f}" for v in place),
            "0020|0037": "\\".join(f"{v:.6f}" for v in np.ravel(rows)),
            "0028|0030": "0.9\\0.8",
        }
        if rescale is not None:
            tags["0028|1053"], tags["0028|1052"] = map(str, rescale)
        for key, value in tags.items():
            image.SetMetaData(key, value)
        # Names run against the order of the slices.
        files.append(folder / f"{uid[-1]}_{100 - i}.dcm")
        writer.SetFileName(str(files[-1]))
        writer.Execute(image)
    return files


def test_folder_reads_as_a_volume(tmp_path, ct):
    write_series(tmp_path / "s", ct)
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, ct)
    assert volume.modality is Modality.CT
    assert volume.source.format == "dicom"
    assert volume.notices == ()
    np.testing.assert_allclose(volume.spacing_mm, (5.0, 0.9, 0.8))
    np.testing.assert_allclose(
        volume.affine,
        [[-0.8, 0, 0, 100], [0, -0.9, 0, 80], [0, 0, 5, 40], [0, 0, 0, 1]],
        atol=1e-6,
    )


def test_oblique_series_keeps_its_direction(tmp_path, ct):
    write_series(tmp_path / "s", ct, rows=TILTED)
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, ct)
    assert volume.notices == ()
    normal = np.cross(*TILTED) * (-1, -1, 1)
    np.testing.assert_allclose(volume.affine[:3, 2], 5 * normal, atol=1e-5)


def test_labels_go_back_onto_the_series(tmp_path, ct, labels):
    write_series(tmp_path / "s", ct, rows=TILTED)
    volume = read_volume(tmp_path / "s")
    image = sitk.ReadImage(write_labels(labels, volume, tmp_path / "b.nii.gz"))
    series = sitk.ImageSeriesReader()
    series.SetFileNames(list_series(tmp_path / "s")[0].files)
    expected = series.Execute()
    for index in ((0, 0, 0), (4, 5, 3)):
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint(index),
            expected.TransformIndexToPhysicalPoint(index),
            atol=1e-3,
        )


def test_one_file_stands_for_its_series(tmp_path, ct):
    file = write_series(tmp_path / "s", ct)[2]
    write_series(tmp_path / "s", ct[:2], uid="1.2.826.0.1.2", description="Other")
    np.testing.assert_array_equal(read_volume(file).array, ct)


def test_file_without_suffix_is_recognised(tmp_path, ct):
    for file in write_series(tmp_path / "s", ct):
        file.rename(file.with_name(f"IM{file.stem[-3:]}"))
    np.testing.assert_array_equal(
        read_volume(next((tmp_path / "s").iterdir())).array, ct
    )


def test_several_series_are_listed_and_never_merged(tmp_path, ct):
    write_series(tmp_path / "s", ct)
    write_series(tmp_path / "s", ct[:2], uid="1.2.826.0.1.2", description="Scout")
    with pytest.raises(AmbiguousSeries, match="holds 2 DICOM series") as caught:
        read_volume(tmp_path / "s")
    message = str(caught.value)
    assert "series=" in message
    assert "1.2.826.0.1.1  'Abdomen 5mm'  4 slices" in message
    assert "1.2.826.0.1.2  'Scout'  2 slices" in message


def test_series_is_chosen_by_uid_or_description(tmp_path, ct):
    write_series(tmp_path / "s", ct)
    write_series(tmp_path / "s", ct[:2], uid="1.2.826.0.1.2", description="Scout")
    for wanted in ("1.2.826.0.1.2", "Scout"):
        volume = read_volume(tmp_path / "s", series=wanted)
        np.testing.assert_array_equal(volume.array, ct[:2])
    with pytest.raises(UnreadableVolume, match="no series 'Liver'") as caught:
        read_volume(tmp_path / "s", series="Liver")
    assert "'Scout'" in str(caught.value)


def test_description_of_two_series_is_ambiguous(tmp_path, ct):
    write_series(tmp_path / "s", ct)
    write_series(tmp_path / "s", ct[:2], uid="1.2.826.0.1.2")
    with pytest.raises(AmbiguousSeries, match=r"1\.2\.826\.0\.1\.2"):
        read_volume(tmp_path / "s", series="Abdomen 5mm")


def test_list_series_counts_slices(tmp_path, ct):
    write_series(tmp_path / "s", ct)
    write_series(tmp_path / "s", ct[:2], uid="1.2.826.0.1.2", description="")
    first, second = list_series(tmp_path / "s")
    assert (first.uid, first.description, first.count) == (
        "1.2.826.0.1.1",
        "Abdomen 5mm",
        4,
    )
    assert (second.description, second.count) == ("", 2)
    assert first.files[0].endswith("1_100.dcm")


def test_missing_slice_is_reported(tmp_path, ct, caplog, capfd):
    slices = np.concatenate([ct, ct])
    write_series(tmp_path / "s", slices, skip=(3,))
    with caplog.at_level(logging.WARNING):
        volume = read_volume(tmp_path / "s")
    assert volume.shape == (7, 6, 5)
    assert volume.spacing_mm[0] == pytest.approx(5.0)
    (notice,) = volume.notices
    assert "slices 2 and 3 are 10.00 mm apart, the usual gap is 5.00 mm" in notice
    assert "1 slice(s) seem to be missing" in notice
    assert notice in caplog.text
    assert capfd.readouterr().err == ""


def test_uneven_gap_is_reported(tmp_path, ct):
    heights = (0.0, 5.0, 10.0, 16.0)
    places = [(-100.0, -80.0, 40.0 + h) for h in heights]
    write_series(tmp_path / "s", ct, positions=places)
    (notice,) = read_volume(tmp_path / "s").notices
    assert "slices 2 and 3 are 6.00 mm apart" in notice
    assert "missing" not in notice


def test_tilted_gantry_is_reported(tmp_path, ct):
    places = [(-100.0, -80.0 + i, 40.0 + 5 * i) for i in range(4)]
    write_series(tmp_path / "s", ct, positions=places)
    volume = read_volume(tmp_path / "s")
    (notice,) = volume.notices
    assert "shifted 1.00 mm sideways" in notice
    np.testing.assert_allclose(volume.affine[:3, 2], (0, 0, 5), atol=1e-6)


def test_slices_numbered_against_their_place_are_sorted(tmp_path, ct):
    heights = (0.0, -5.0, -10.0, -15.0)
    places = [(-100.0, -80.0, 40.0 + h) for h in heights]
    write_series(tmp_path / "s", ct, positions=places)
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, ct[::-1])
    np.testing.assert_allclose(volume.affine[:3, 3], (100, 80, 25))


def test_slices_with_slopes_of_their_own_are_scaled_one_by_one(tmp_path):
    grey = np.stack([np.arange(30, dtype=np.int16).reshape(5, 6)] * 2)
    write_series(tmp_path / "s", grey, skip=(1,), rescale=(1, 0))
    files = write_series(tmp_path / "s", grey * 1000, skip=(0,), rescale=(1000, 0))
    # GDCM writes whole slopes only, so the text of the tag is changed.
    slope = b"\x28\x00\x53\x10\x04\x00\x00\x00"  # tag and length
    content = files[0].read_bytes()
    assert slope + b"1000" in content
    files[0].write_bytes(content.replace(slope + b"1000", slope + b"0.25"))
    volume = read_volume(tmp_path / "s")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], grey[0])
    np.testing.assert_array_equal(volume.array[1], grey[1] * 0.25)


def test_series_over_time_is_refused(tmp_path, ct):
    places = [(-100.0, -80.0, 40.0 + 5 * (i // 2)) for i in range(4)]
    write_series(tmp_path / "s", ct, positions=places)
    with pytest.raises(UnreadableVolume, match="lie at the same position"):
        read_volume(tmp_path / "s")


def test_slices_of_two_directions_are_refused(tmp_path, ct):
    write_series(tmp_path / "s", ct)
    for file in write_series(tmp_path / "t", ct[:1], rows=TILTED):
        file.rename(tmp_path / "s" / "x.dcm")
    with pytest.raises(UnreadableVolume, match="different directions"):
        read_volume(tmp_path / "s")


def test_slices_of_two_sizes_are_refused(tmp_path, ct):
    write_series(tmp_path / "s", ct)
    other = write_series(tmp_path / "t", np.zeros((6, 3, 3), np.int16), skip=range(5))
    other[0].rename(tmp_path / "s" / "x.dcm")
    with pytest.raises(UnreadableVolume, match="differ in size"):
        read_volume(tmp_path / "s")


def test_rescale_slope_is_applied(tmp_path):
    stored = np.arange(60, dtype=np.uint16).reshape(2, 5, 6) * 30
    write_series(tmp_path / "s", stored.astype(np.int16) - 1024, rescale=(1, -1024))
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, stored.astype(int) - 1024)


@pytest.mark.parametrize(
    ("code", "expected"),
    [("MR", Modality.MR), ("PT", Modality.PET), ("OT", Modality.OTHER)],
)
def test_modality_comes_from_the_tag(tmp_path, ct, code, expected):
    write_series(tmp_path / "s", ct, modality=code)
    assert read_volume(tmp_path / "s").modality is expected
    assert read_volume(tmp_path / "s", modality=Modality.US).modality is Modality.US


def test_single_slice_is_a_volume(tmp_path, ct):
    write_series(tmp_path / "s", ct[:1])
    volume = read_volume(tmp_path / "s")
    assert volume.shape == (1, 6, 5)
    assert volume.notices == ()


def test_frame_is_refused(tmp_path, ct):
    write_series(tmp_path / "s", ct)
    with pytest.raises(UnreadableVolume, match="no frame 2"):
        read_volume(tmp_path / "s", frame=2)


def test_damaged_slice_is_refused_quietly(tmp_path, ct, capfd):
    file = write_series(tmp_path / "s", ct)[1]
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(UnreadableVolume, match=f"slice '{file.name}' is damaged"):
        read_volume(tmp_path / "s")
    assert capfd.readouterr().err == ""


def test_damaged_slice_of_another_series_does_not_matter(tmp_path, ct):
    write_series(tmp_path / "s", ct)
    file = write_series(tmp_path / "s", ct[:2], uid="1.2.826.0.1.2")[0]
    file.write_bytes(file.read_bytes()[:-30])
    volume = read_volume(tmp_path / "s", series="1.2.826.0.1.1")
    np.testing.assert_array_equal(volume.array, ct)


def test_folder_without_dicom_is_refused(tmp_path, ct):
    with pytest.raises(UnreadableVolume, match="holds no readable DICOM"):
        read_volume(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(UnreadableVolume, match="holds no readable DICOM"):
        read_volume(tmp_path)
    write_series(tmp_path / "s", ct)
    with pytest.raises(UnreadableVolume, match="Choose one of its subfolders"):
        read_volume(tmp_path)


def test_file_that_is_no_dicom_is_refused_quietly(tmp_path, capfd):
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(128) + b"DICM" + b"rubbish" * 50)
    with pytest.raises(UnreadableVolume, match=r"Cannot read 'a\.dcm'"):
        read_volume(path)
    assert capfd.readouterr().err == ""
