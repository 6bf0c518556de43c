"""Prompts and images at the edge of sense: one clear error, or a right result.

Through Python, and through the command line.
"""

import json
import sys
import warnings

import nibabel as nib
import numpy as np
import pytest

from napari_qmedsam import Session, cli, dice
from napari_qmedsam.cli import shared
from napari_qmedsam.errors import InvalidBox, InvalidSettings, InvalidVolume
from napari_qmedsam.prompts import Box2D, Box3D, Point
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window
from napari_qmedsam.workflows import compare, load_model

NAN = float("nan")


@pytest.fixture(scope="module")
def segmenter():
    return load_model("demo", backend="torch")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, new_backend):
    """Run a command with the made-up model, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    made = SliceSegmenter(new_backend())
    monkeypatch.setattr(shared, "segmenter", lambda *rest: made)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qmedsam", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, *capsys.readouterr()

    return call


def save(path, array, spacing=(1.0, 1.0, 1.0)):
    affine = np.diag([*spacing[::-1], 1.0])
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), path)


# Boxes --------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        (0, 0, 0, 0, 0, 0),
        (5, 5, 1, 2, 2, 2),
        (1, 1, 2, 4, 4, 1),
        (NAN, 0, 0, 4, 4, 1),
        (0, 0, NAN, 4, 4, 1),
        (0, 0, 0.5, 4, 4, 1),
        (0, 0, 0, float("inf"), 4, 1),
        (None, 0, 0, 4, 4, 1),
        ("0", 0, 0, 4, 4, 1),
        (0, 0, "0", 4, 4, 1),
        (40, 0, 0, 50, 4, 1),
        (-9, 0, 0, 0, 4, 1),
        (0, 0, 6, 4, 4, 7),
        (0, 0, -3, 4, 4, 0),
    ],
)
def test_a_box_that_holds_nothing_is_refused_and_nothing_changes(values):
    session = Session(Volume(np.zeros((6, 32, 32), np.int16)))
    with pytest.raises(InvalidBox, match="Box"):
        session.add_object(Box3D(*values))
    assert session.objects == {}
    assert not session.history.can_undo


def test_a_box_that_is_far_too_large_is_cut_to_the_volume():
    session = Session(Volume(np.zeros((6, 32, 30), np.int16)))
    added = session.add_object(Box3D(-1e308, -1e308, -(10**30), 1e308, 1e308, 10**30))
    assert added.box == Box3D(0, 0, 0, 30, 32, 6)


@pytest.mark.parametrize("x", [NAN, None, "1"])
def test_a_point_or_key_box_of_no_numbers_is_refused(x):
    with pytest.raises(ValueError, match="finite"):
        Point(0, x, 1)
    with pytest.raises(InvalidBox, match="finite"):
        Box2D(x, 0, 4, 4)


def test_a_box_smaller_than_a_pixel_is_segmented(segmenter):
    session = Session(Volume(np.zeros((1, 32, 32), np.uint8)), segmenter)
    session.add_object(Box3D(5.2, 5.2, 0, 5.4, 5.4, 1))
    assert len(session.segment()) == 1


def test_thousands_of_boxes_each_get_their_own_number(run, tmp_path):
    array = np.full((2, 32, 32), 200, np.uint8)
    array[:, -1] = 20
    save(tmp_path / "ct.nii.gz", array)
    boxes = [
        f"--box={z},{x},{y},{x + 1},{y + 1}"
        for z in range(2)
        for y in range(31)
        for x in range(32)
    ]
    status, out, err = run("segment", "ct.nii.gz", *boxes, "-o", "o.nii.gz", "--json")
    assert status == 0, err
    found = json.loads(out)["objects"]
    assert [item["id"] for item in found] == list(range(1, len(boxes) + 1))
    assert {item["voxels"] for item in found} == {1}
    written = np.asarray(nib.load("o.nii.gz").dataobj).transpose(2, 1, 0)
    expected = np.zeros((2, 32, 32), int)
    expected[:, :31] = np.arange(1, len(boxes) + 1).reshape(2, 31, 32)
    np.testing.assert_array_equal(written, expected)


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--box=2,5,5,2,2", "is empty"),
        ("--box=2,5,5,5,5", "is empty"),
        ("--box=2,5,5,1e400,9", "finite"),
        ("--box=nan,5,5,9,9", "whole number"),
        ("--box=2,-9,0,0,5", "outside the slice"),
        ("--box=-1,0,0,5,5", "outside the volume"),
        ("--box=", "must be numbers"),
        ("--box3d=0,0,0,9,9,0", "is empty"),
        ("--box3d=0,0,0,9,9,inf", "whole number"),
        ("--box3d=0,0,6,9,9,9", "outside the volume"),
        ("--window=-1e300,1e300", "float32"),
    ],
)
def test_the_command_refuses_them_with_one_line(run, tmp_path, option, complaint):
    save(tmp_path / "ct.nii.gz", np.zeros((6, 32, 32), np.int16))
    status, out, err = run("segment", "ct.nii.gz", "--box=0,0,0,9,9", option)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert complaint in err
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nii.gz"]


# Images -------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 1, 1), np.int16),
        np.arange(300, dtype=np.int16).reshape(1, 1, 300),
        np.arange(300, dtype=np.int16).reshape(1, 300, 1),
        np.full((3, 40, 30), -1024, np.int16),
        np.full((3, 40, 30), 3e38, np.float64) / 4,
        np.full((3, 40, 30), 2**64 - 1, np.uint64),
        np.zeros((3, 40, 30), bool),
        np.full((2, 20, 20), NAN, np.float32),
        np.full((2, 20, 20, 3), 7, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_images_without_contrast_are_segmented_in_silence(segmenter, array):
    session = Session(Volume(array), segmenter)
    depth, height, width = session.volume.shape
    session.add_object(Box3D(0, 0, 0, width, height, depth))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(session.segment()) == depth
    assert set(np.unique(session.labels)) <= {0, 1}


@pytest.mark.parametrize("dtype", [complex, object, "U1"])
def test_an_array_that_is_no_image_is_refused(dtype):
    with pytest.raises(InvalidVolume, match="real numbers, but the array is"):
        Volume(np.zeros((2, 3, 4), dtype))


def test_a_window_beyond_float32_is_refused():
    with pytest.raises(ValueError, match="beyond what float32 holds"):
        Volume(np.full((1, 4, 4), 1e300)).default_window()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 30), (3, 1, 1)])
def test_the_command_takes_the_smallest_images(run, tmp_path, shape):
    save(tmp_path / "in.nii.gz", np.zeros(shape, np.int16))
    depth, height, width = shape
    box = f"--box3d=0,0,0,{width},{height},{depth}"
    status, out, err = run("segment", "in.nii.gz", box, "-o", "o.nii.gz", "--json")
    assert status == 0, err
    assert json.loads(out)["objects"][0]["id"] == 1
    assert nib.load("o.nii.gz").shape[:3] == shape[::-1]


def test_a_slice_of_8192_pixels_comes_back_whole(new_backend):
    array = np.full((1, 8192, 8192), 20, np.uint8)
    array[0, 2048:4096, 1024:6144] = 200
    session = Session(Volume(array), SliceSegmenter(new_backend()), Window(0, 255))
    session.add_object(Box3D(1024, 2048, 0, 6144, 4096, 1))
    session.segment()
    assert dice(session.labels[0] == 1, array[0] == 200) > 0.9


# Labels -------------------------------------------------------------------


def test_labels_that_cannot_be_painted_are_refused():
    volume = Volume(np.zeros((2, 8, 8), np.uint8))
    labels = np.zeros((2, 8, 8), np.uint8)
    labels.setflags(write=False)
    with pytest.raises(InvalidSettings, match="read-only"):
        Session(volume, labels=labels)


def test_labels_of_another_spacing_count_where_they_lie(run, tmp_path):
    truth = np.zeros((6, 32, 32), np.uint8)
    truth[1:5, 4:24, 6:26] = 1
    save(tmp_path / "ct.nii.gz", np.where(truth, 200, 20).astype(np.uint8), (2, 1, 1))
    fine = truth.repeat(2, axis=0)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[2, 3] = -0.5
    nib.save(nib.Nifti1Image(fine.transpose(2, 1, 0), affine), tmp_path / "fine.nii.gz")
    status, out, err = run(
        "evaluate",
        "--image",
        "ct.nii.gz",
        "--labels",
        "fine.nii.gz",
        "--json",
        "r.json",
    )
    assert status == 0, err
    assert "resampled" in err
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["mean"]["dsc"] == 100.0
    assert report["classes"]["1"]["count"] == 4


@pytest.mark.parametrize(
    ("array", "shift", "complaint"),
    [
        (np.ones((6, 32, 32), np.uint8), 1000.0, "wholly outside"),
        (np.full((6, 32, 32), 0.5, np.float32), 0.0, "whole number"),
        (np.full((6, 32, 32), -1, np.int16), 0.0, "label -1"),
        (np.zeros((6, 32, 32), np.uint8), 0.0, "empty"),
    ],
)
def test_labels_of_no_use_end_with_one_line(run, tmp_path, array, shift, complaint):
    save(tmp_path / "ct.nii.gz", np.zeros((6, 32, 32), np.int16))
    affine = np.eye(4)
    affine[:3, 3] = shift
    labels = nib.Nifti1Image(array.transpose(2, 1, 0), affine)
    nib.save(labels, tmp_path / "labels.nii.gz")
    status, out, err = run(
        "evaluate", "--image", "ct.nii.gz", "--labels", "labels.nii.gz"
    )
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert complaint in err


def test_arrays_of_another_shape_are_refused_in_python(segmenter):
    volume = Volume(np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"\(2, 8, 9\) but the image is \(2, 8, 8\)"):
        compare(volume, np.ones((2, 8, 9), np.uint8), [segmenter])
