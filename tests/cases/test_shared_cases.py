"""Every row of a folder of cases beside the checkout, through both doors.

The folder is not part of the project; a clone without it skips this. What each
row expects is written here, by its first word: read, refuse, or a notice.
"""

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from napari_qmedsam import cli
from napari_qmedsam.errors import QMedSAMError
from napari_qmedsam.volumes import read_labels, read_volume

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
BOX = "17,6,1,41,28,7"
DICOM_SPACING = (3.0, 0.8, 0.6)


@dataclass(frozen=True)
class Row:
    """What is right for a case.

    Parameters
    ----------
    name : str
    file : str
        In its folder; empty for the folder itself.
    says : str
        Of a notice, or of the error where it is refused; may be empty.
    spacing : tuple of float or None
        None: it is refused.
    shape : tuple of int
    """

    name: str
    file: str = ""
    says: str = ""
    spacing: tuple[float, float, float] | None = DICOM_SPACING
    shape: tuple[int, int, int] = (8, 40, 48)


ROWS = (
    Row("e06_three_stacks", "enh.dcm"),
    Row("e05_two_times", "enh.dcm", "2 images of the same slices"),
    Row("e04_frame_slopes", "enh.dcm"),
    Row("e08_missing", "enh.dcm", "1 slice(s) seem to be missing"),
    Row("e12_image_for_seg"),
    Row("e11b_thickness_only", "mf.dcm", "3 mm between them"),
    Row("d17_single_slice", "", "", (5.0, 0.8, 0.6), (1, 40, 48)),
    Row("f11_no_pixelspacing", "", "no pixel spacing", (3.0, 1.0, 1.0)),
    Row("m17_corrupt_local", "ct.mha", "packed data are damaged", None),
    Row("m03b_compressed_nosize", "ct.mha", "", (3.0, 0.8, 0.7)),
    Row("m13c_list_short", "ct.mhd", "names 5 data files, but has 8", None),
    Row("n21_gz_bitflip", "ct.nii.gz", "the file is damaged", None),
    Row("m11_long_header", "ct.mha", "", (3.0, 0.8, 0.7)),
    Row("d10_no_preamble"),
    Row("d10_no_preamble", "IM003"),
    Row("r11c_list_first_uchar3", "ct.nrrd", "3 frames", (3.0, 0.8, 0.7)),
    Row("n10_zero_sform", "ct.nii", "the qform is used", (3.0, 1.0, 1.0)),
    Row("n08_fake_gz", "ct.nii.gz", "not packed, though", (3.0, 1.0, 1.0)),
    Row("r05c_bzip2", "ct.nrrd", "packed with bzip2", None),
    Row("d11_doubled", "", "stand in the folder twice"),
    Row("x_dicom_claims_gigabytes", "s.dcm", "", None),
    Row("x_mha_empty", "s.mha", "sizes '.4 20 6'", None),
)

pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason=f"no folder of cases at {CASES}"
)


def ids(row: Row) -> str:
    return f"{row.name}-{row.file}" if row.file else row.name


def test_every_case_has_a_row():
    folders = {path.name for path in CASES.iterdir() if path.is_dir()}
    assert folders == {row.name for row in ROWS} | {"s01_seg_1bit"}


@pytest.fixture
def run(monkeypatch, capfd):
    """Run a command in process: status, out, and all of file descriptor 2."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qmedsam", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        return stop.value.code, out, err

    return call


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_from_the_command_line(row, tmp_path, run):
    box = f"--box3d={BOX}" if row.shape[0] > 1 else "--box=0,17,6,41,28"
    out = tmp_path / "out.nii.gz"
    path = CASES / row.name / row.file
    status, printed, said = run("segment", path, box, "-o", out, "--json")
    if row.spacing is None:
        assert status == 2
        assert said.startswith(f"Error: Cannot read '{path.name}': ")
        assert said.count("\n") == 1  # nothing of a library beside it
        assert row.says in said
        assert not out.exists()
        return
    assert status == 0, said
    report = json.loads(printed)
    assert row.says in " ".join(report["notices"])
    assert report["objects"][0]["voxels"] > 0
    labels = read_labels(out)
    assert labels.shape == row.shape
    np.testing.assert_allclose(labels.spacing_mm, row.spacing, rtol=1e-4)


@pytest.mark.gui
@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_in_napari(row):
    from napari_qmedsam.gui.files import get_reader

    path = str(CASES / row.name / row.file)
    reader = get_reader(path)
    assert reader is not None
    if row.spacing is None:
        with pytest.raises(QMedSAMError):
            reader(path)
        return
    ((data, arguments, kind),) = reader(path)
    assert kind == "image"
    volume = read_volume(path)
    np.testing.assert_array_equal(data, volume.array)
    (shown,) = arguments["metadata"].values()
    assert shown.notices == volume.notices


def test_values_of_the_frames():
    folder = CASES / "e04_frame_slopes"
    volume = read_volume(folder / "enh.dcm")
    # Stored values are alike; slopes go from 0.5 in steps of 0.25.
    highest = volume.array.reshape(8, -1).max(axis=1)[2:6]
    ratios = highest / (0.5 + 0.25 * np.arange(2, 6))
    np.testing.assert_allclose(ratios, ratios[0], rtol=0.1)


def test_the_segmentation_is_two_classes_at_their_places(run):
    image = read_volume(CASES / "e12_image_for_seg")
    labels = read_labels(CASES / "s01_seg_1bit" / "seg.dcm", image)
    assert np.unique(labels.array).tolist() == [0, 1, 2]
    by_slice = {
        number: np.flatnonzero((labels.array == number).any(axis=(1, 2))).tolist()
        for number in (1, 2)
    }
    assert by_slice == {1: [1, 2, 3, 4, 5, 6], 2: [3, 4, 5, 6]}
    status, printed, said = run(
        "evaluate",
        "--image",
        CASES / "e12_image_for_seg",
        "--labels",
        CASES / "s01_seg_1bit" / "seg.dcm",
        "--json=-",
        "--mode=volume",
    )
    assert status == 0, said
    assert set(json.loads(printed)["classes"]) == {"1", "2"}


@pytest.mark.parametrize(
    "name", ["x_dicom_claims_gigabytes/s.dcm", "x_mha_empty/s.mha"]
)
def test_claims_take_no_memory(name):
    """In a process that may have 1 GB more than it starts with."""
    code = (
        "import sys, resource\n"
        "import numpy, SimpleITK, nibabel, pydicom\n"
        "from napari_qmedsam.volumes import read_volume\n"
        "used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    read_volume(sys.argv[1])\n"
        "except ValueError:\n"
        "    pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(CASES / name)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (30, 30)),
    )
    assert int(done.stdout) < 1 << 20  # kB
