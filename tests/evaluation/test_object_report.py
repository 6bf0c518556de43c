"""Sizes, greys and diameters that one can check by hand."""

import numpy as np
import pytest

from napari_qmedsam.evaluation.diameters import longest_diameter
from napari_qmedsam.evaluation.object_report import report_objects
from napari_qmedsam.volumes import Modality, Volume


def test_diameter_runs_between_corners_of_voxels():
    mask = np.zeros((9, 9), bool)
    mask[2:5, 3:7] = True  # 3 rows, 4 columns
    assert longest_diameter(mask, (1.0, 1.0)) == pytest.approx(5)
    # 3 rows of 4 mm are 12 mm, 4 columns of 1.25 mm are 5 mm: 5, 12, 13.
    assert longest_diameter(mask, (4.0, 1.25)) == pytest.approx(13)


def test_diameter_of_other_shapes():
    mask = np.zeros((9, 9), bool)
    assert longest_diameter(mask, (1.0, 1.0)) == 0
    mask[4, 4] = True
    assert longest_diameter(mask, (3.0, 4.0)) == pytest.approx(5)
    mask[4] = True
    assert longest_diameter(mask, (1.0, 2.0)) == pytest.approx(np.hypot(18, 1))
    mask[:] = np.eye(9, dtype=bool)
    assert longest_diameter(mask, (1.0, 1.0)) == pytest.approx(9 * np.sqrt(2))


def test_diameter_is_that_of_all_pairs_of_corners():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((7, 6)) < 0.2
        mask[3, 3] = True
        rows, columns = np.nonzero(mask)
        corners = np.array(
            [
                (r + i, c + j)
                for r, c in zip(rows, columns, strict=True)
                for i in (0, 1)
                for j in (0, 1)
            ]
        ) * (2.5, 0.7)
        apart = corners[:, None] - corners[None]
        longest = np.linalg.norm(apart, axis=-1).max()
        assert longest_diameter(mask, (2.5, 0.7)) == pytest.approx(longest)


def test_sheared_slices_are_measured_in_the_patient():
    mask = np.ones((1, 1), bool)
    steps = np.array([[0.0, 3.0, 0.0], [4.0, 3.0, 0.0]])  # a row on, a column on
    # The far corners of the parallelogram are (0, 0) and (4, 6).
    assert longest_diameter(mask, steps) == pytest.approx(np.hypot(4, 6))


@pytest.fixture
def volume():
    array = np.zeros((6, 8, 8), np.int16)
    array[1:3, 2:5, 3:7] = 40
    array[2, 2:5, 3:7] = 60
    return Volume(array, (5.0, 4.0, 1.25), modality=Modality.CT)


def test_every_object_is_measured(volume):
    labels = np.zeros(volume.shape, np.uint16)
    labels[1:3, 2:5, 3:7] = 2
    labels[5, 0, 0] = 900
    report = report_objects(volume, labels, {2: "liver", 7: "lost", 900: "dot"})
    liver, lost, dot = report.objects
    assert (liver.number, liver.name, liver.voxels, liver.slices) == (2, "liver", 24, 2)
    assert liver.volume_ml == pytest.approx(24 * 25 / 1000)
    assert (liver.mean, liver.spread) == (50, 10)
    assert liver.longest_diameter == pytest.approx(13)
    assert liver.diameter_slice == 1
    assert (lost.voxels, lost.slices, lost.volume_ml) == (0, 0, 0)
    assert np.isnan(lost.mean)
    assert (dot.voxels, dot.mean, dot.spread, dot.diameter_slice) == (1, 0, 0, 5)
    assert report.cells[0] == [
        "id",
        "object",
        "slices",
        "voxels",
        "ml",
        "mean HU",
        "SD HU",
        "longest axial diameter mm",
        "on slice",
    ]
    assert report.cells[1] == [
        "2",
        "liver",
        "2",
        "24",
        "0.600",
        "50.0",
        "10.0",
        "13.0",
        "1",
    ]
    assert report.cells[2] == ["7", "lost", "0", "0", "0.000", "", "", "0.0", ""]


def test_diameter_is_axial_whatever_the_scan_stores_first(volume):
    """A sagittal scan: the first axis runs from right to left."""
    affine = np.zeros((4, 4))
    affine[0, 2], affine[2, 1], affine[1, 0], affine[3, 3] = 5.0, -4.0, -1.25, 1
    seen = Volume(volume.array, volume.spacing_mm, affine, Modality.CT)
    labels = np.zeros(volume.shape, np.uint8)
    labels[1:4, 2:5, 3:7] = 1
    (block,) = report_objects(seen, labels).objects
    # Axial slices lie across rows: 3 slices of 5 mm by 4 columns of 1.25 mm.
    assert block.slices == 3
    assert block.longest_diameter == pytest.approx(np.hypot(15, 5))


def test_pictures_have_pixels():
    volume = Volume(np.ones((1, 8, 8), np.uint8), has_spacing=False)
    labels = np.zeros(volume.shape, np.uint8)
    labels[0, 2:5, 3:7] = 1
    report = report_objects(volume, labels)
    assert "ml" not in report.cells[0]
    assert "longest axial diameter pixels" in report.cells[0]
    assert "mean intensity" in report.cells[0]
    assert report.objects[0].longest_diameter == pytest.approx(5)


def test_colour_has_sizes_and_no_greys():
    volume = Volume(np.ones((1, 8, 8, 3), np.uint8))
    labels = np.ones(volume.shape, np.uint8)
    (whole,) = report_objects(volume, labels).objects
    assert whole.voxels == 64
    assert np.isnan(whole.mean)


def test_report_is_saved_as_csv(tmp_path, volume):
    labels = (volume.array > 0).astype(np.uint8)
    out = report_objects(volume, labels, {1: "a, b"}).save(tmp_path / "r.csv")
    assert out.read_text().splitlines()[1] == '1,"a, b",2,24,0.600,50.0,10.0,13.0,1'
