"""The command line, as a user meets it: files in, files out, one-line errors."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_qmedsam import cli
from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.cli import shared
from napari_qmedsam.segmentation.segmenter import SliceSegmenter

QMEDSAM = Path(sys.executable).with_name("qmedsam")
"""The installed command."""

SHARED = Path(__file__).parents[2] / "shared" / "data"

HEAVY = ("torch", "openvino", "napari", "qtpy", "PyQt6", "nibabel", "cv2", "scipy")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in process, in a folder of its own: status, out, err."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qmedsam", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


@pytest.fixture
def fake_model(monkeypatch, new_backend):
    """Put the made-up model in place of the real one."""
    backend = new_backend()
    monkeypatch.setattr(
        shared, "segmenter", lambda *rest: SliceSegmenter(backend, max_boxes=rest[3])
    )
    return backend


@pytest.fixture
def scan(tmp_path):
    """Oblique, flipped CT: bright boxes 1 and 2 with their labels."""
    truth = np.zeros((6, 32, 32), np.uint8)
    truth[1:4, 4:16, 6:20] = 1
    truth[2:5, 20:30, 18:30] = 2
    array = np.where(truth > 0, 200, -900).astype(np.int16)
    angle = np.deg2rad(12)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = affine @ np.diag([-0.8, 0.8, 3.0, 1.0])
    affine[:3, 3] = [40, -20, 100]
    for name, values in (("ct", array), ("labels", truth)):
        image = nib.Nifti1Image(values.transpose(2, 1, 0), affine)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    return truth


def write_series(image: sitk.Image, folder: Path) -> None:
    """Write a volume as a DICOM series, one file per slice."""
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    cosines = np.reshape(image.GetDirection(), (3, 3)).T[:2].ravel()
    for z in range(image.GetDepth()):
        plane = image[:, :, z]
        place = image.TransformIndexToPhysicalPoint((0, 0, z))
        for tag, value in {
            "0008|0060": "CT",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0020|000d": "1.2.3",
            "0020|000e": "1.2.3.4",
            "0020|0013": str(z + 1),
            "0020|0032": "\\".join(map(str, place)),
            "0020|0037": "\\".join(map(str, cosines)),
            "0008|0018": f"1.2.3.4.{z + 1}",
        }.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{z}.dcm"))
        writer.Execute(plane)


def test_help_loads_nothing_heavy_and_answers_at_once():
    code = (
        "import sys, time, contextlib, io\n"
        "sys.argv = ['qmedsam', '--help']\n"
        "from napari_qmedsam.cli import main\n"
        "hidden = contextlib.redirect_stdout(io.StringIO())\n"
        "with contextlib.suppress(SystemExit), hidden:\n"
        "    main()\n"
        f"print([m for m in {HEAVY} if m in sys.modules], time.process_time())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded, seconds = done.stdout.rsplit("]", 1)
    assert loaded == "["
    assert float(seconds) < 0.5


def test_installed_command_prints_its_version():
    done = subprocess.run([QMEDSAM, "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\s*", done.stdout)


def test_help_says_what_coordinates_mean(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = run("segment", "--help")
    text = " ".join(out.split())
    assert status == 0
    assert "voxel indices of the (Z, Y, X) array as napari shows it" in text
    assert "maxima are excluded" in text


def test_form_of_the_boxes_is_whole_in_a_terminal_of_80_columns(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run("segment", "--help")
    assert "z,x_min,y_min,x_max,y_max;" in out
    assert "x_min,y_min,z_min,x_max,y_max,z_max;" in out


def test_segment_writes_labels_on_the_grid_of_the_scan(run, fake_model, scan):
    status, out, _ = run(
        "segment", "ct.nii.gz", "--box3d", "5,3,1,21,17,4",
        "--box3d", "17,19,2,31,31,5", "-o", "out.nii.gz", "--json",
    )  # fmt: skip
    assert status == 0
    report = json.loads(out)
    assert [item["id"] for item in report["objects"]] == [1, 2]
    assert report["objects"][0]["voxels"] == 3 * 12 * 14
    assert report["objects"][0]["volume_ml"] == pytest.approx(
        504 * 0.8 * 0.8 * 3e-3, abs=1e-3
    )
    assert report["model"] == "counting"
    written, source = sitk.ReadImage("out.nii.gz"), sitk.ReadImage("ct.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), scan)
    for kind in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(
            getattr(written, kind)(), getattr(source, kind)(), atol=1e-4
        )


def test_boxes_on_slices_come_before_boxes_over_slices(run, fake_model, scan):
    status, _, _ = run(
        "segment", "ct.nii.gz", "--box3d", "17,19,2,31,31,5",
        "--box", "1,5,3,21,17", "--propagation", "box",
    )  # fmt: skip
    assert status == 0
    labels = nib.load("ct_labels.nii.gz").get_fdata().transpose(2, 1, 0)
    expected = np.where(scan == 2, 2, 0)
    expected[1][scan[1] == 1] = 1
    np.testing.assert_array_equal(labels, expected)


def test_segment_reads_nrrd_and_dicom(run, fake_model, scan, tmp_path):
    image = sitk.Cast(sitk.ReadImage("ct.nii.gz"), sitk.sitkInt16)
    sitk.WriteImage(image, "ct.nrrd")
    write_series(image, tmp_path / "series")
    # The scan is left-handed, a series is not: its slices come in reverse.
    for source, z in (("ct.nrrd", 2), ("series", 3), ("series/0.dcm", 3)):
        status, out, err = run("segment", source, "--box", "2,5,3,21,17", "--json")
        assert status == 0, err
        labels = sitk.ReadImage(json.loads(out)["output"])
        in_place = sitk.Resample(labels, image, interpolator=sitk.sitkNearestNeighbor)
        expected = np.zeros_like(scan)
        expected[z] = scan[z] == 1
        np.testing.assert_array_equal(sitk.GetArrayFromImage(in_place), expected)


def test_evaluate_takes_series_for_image_and_labels(run, fake_model, scan, tmp_path):
    for name in ("ct", "labels"):
        image = sitk.Cast(sitk.ReadImage(f"{name}.nii.gz"), sitk.sitkInt16)
        write_series(image, tmp_path / name)
    status, out, err = run("evaluate", "--image", "ct", "--labels", "labels")
    assert status == 0, err
    assert "100.00" in out


def test_labels_of_the_folder_one_stands_in_bear_its_name(
    run, fake_model, scan, tmp_path, monkeypatch
):
    image = sitk.Cast(sitk.ReadImage("ct.nii.gz"), sitk.sitkInt16)
    write_series(image, tmp_path / "patient")
    monkeypatch.chdir(tmp_path / "patient")
    status, _, err = run("segment", ".", *BOX)
    assert status == 0, err
    assert Path("patient_labels.nii.gz").exists()


def test_window_is_chosen_by_name_or_numbers(run, fake_model, scan):
    arguments = ("segment", "ct.nii.gz", *BOX, "--json", "-o", "out.nii.gz")
    _, out, _ = run(*arguments, "--window", "lung")
    assert json.loads(out)["window"] == [-1350, 150]
    _, out, _ = run(*arguments, "--window", "-160,240")
    assert json.loads(out)["window"] == [-160, 240]
    _, out, _ = run(*arguments)
    assert json.loads(out)["window"] == [-160, 240]


def test_evaluate_writes_and_prints_the_same_report(run, fake_model, scan):
    arguments = ("evaluate", "--image", "ct.nii.gz", "--labels", "labels.nii.gz")
    status, out, _ = run(*arguments, "--json", "report.json", "--classes", "1,2")
    assert status == 0
    assert "100.00" in out
    report = json.loads(Path("report.json").read_text())
    perfect = {"dsc": 100.0, "nsd": 100.0, "hd95_mm": 0.0, "volume_difference": 0.0}
    assert report["mean"] == perfect
    assert report["classes"]["1"] == {**perfect, "count": 3, "missed": 0}
    assert out.count("100.00") == 6
    status, out, _ = run(*arguments, "--json", "-", "--mode", "volume")
    assert status == 0
    assert json.loads(out)["count"] == 2


def test_effort_is_measured_by_the_number_of_boxes(run, fake_model, scan):
    arguments = ("evaluate", "--image", "ct.nii.gz", "--labels", "labels.nii.gz")
    status, out, err = run(*arguments, "--effort", "--json", "effort.json")
    assert status == 0, err
    assert "2 of 2 objects got there" in " ".join(out.split())
    report = json.loads(Path("effort.json").read_text())
    assert [row["way"] for row in report["rows"]][:2] == ["1 box", "2 boxes"]
    assert set(report["boxes_needed"]) == {"1", "2"}
    every = next(r for r in report["rows"] if r["way"] == "a box on every slice")
    assert every["dsc"] == 100
    assert every["boxes"] == 3


def test_jittered_boxes_lower_the_scores_and_repeat_with_the_seed(
    run, fake_model, scan
):
    arguments = ("evaluate", "--image", "ct.nii.gz", "--labels", "labels.nii.gz")
    arguments += ("--json", "-", "--box-jitter", "4")
    means = [
        json.loads(run(*arguments, "--seed", seed)[1])["mean"] for seed in (1, 1, 2)
    ]
    assert means[0] == means[1] != means[2]
    assert max(mean["dsc"] for mean in means) < 100


def test_labels_of_another_orientation_are_resampled_with_a_note(run, fake_model, scan):
    labels = nib.load("labels.nii.gz")
    turned = labels.as_reoriented(
        nib.orientations.ornt_transform(
            nib.io_orientation(labels.affine), nib.orientations.axcodes2ornt("SPL")
        )
    )
    nib.save(turned, "turned.nii.gz")
    status, out, err = run(
        "evaluate", "--image", "ct.nii.gz", "--labels", "turned.nii.gz", "--json", "-"
    )
    assert status == 0
    assert json.loads(out)["mean"]["dsc"] == 100.0
    assert "Note:" in err
    assert "resampled" in err


BOX = ("--box", "2,5,3,21,17")
KNOWN = ("--modality", "CT")
"""Given, so that no note tells a guess."""
TRAIN = ("train", "demo", "--out")
ON_DATA = ("train", "float", "--out", "run", "--data")
EVALUATE = ("evaluate", "--image", "ct.nii.gz", "--labels", "labels.nii.gz")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("segment", "none.nii.gz", *BOX), "none.nii.gz"),
        (("segment", "text.nii.gz", *BOX), "text.nii.gz"),
        (("segment", "ct.nii.gz"), "at least one --box"),
        (("segment", "ct.nii.gz", "--box", "9,5,3,21,17"), "lies outside"),
        (("segment", "ct.nii.gz", "--box", "2,5,3,5,17"), "is empty"),
        (("segment", "ct.nii.gz", "--box", "2,5,3,21"), "z,x_min,y_min,x_max,y_max"),
        (("segment", "ct.nii.gz", "--box", "a,b,c,d,e"), "must be numbers"),
        (("segment", "ct.nii.gz", "--box", "1.5,5,3,21,17"), "whole number"),
        (("segment", "ct.nii.gz", "--box", "1e30,5,3,21,17"), "lies outside"),
        (("segment", "ct.nii.gz", "--box", "2,nan,3,21,17"), "finite"),
        (("segment", "ct.nii.gz", "--box3d", "5,3,4,21,17,4"), "is empty"),
        (("segment", "frames.nii.gz", "--box", "9,5,3,21,17"), "lies outside"),
        (("segment", "ct.nii.gz", *BOX, "-o", "./ct.nii.gz"), "input itself"),
        (("segment", "ct.nii.gz", *BOX, "-o", "folder.nii"), "a folder has that name"),
        (("segment", "ct.nii.gz", *BOX, "-o", "none/out.nii.gz"), "no folder"),
        (("segment", "ct.nii.gz", *BOX, "-o", "out.xyz"), ".xyz"),
        (("segment", "ct.nii.gz", *BOX, "--max-boxes", "0"), "max-boxes"),
        (("segment", "ct.nii.gz", *BOX, "--window", "bright"), "no window"),
        (("segment", "ct.nii.gz", *BOX, "--window", "5,1"), "must be below"),
        (("segment", "ct.nii.gz", *BOX, "--propagation", "up"), "--propagation"),
        (("segment", "ct.nii.gz", *BOX, "--model", "nothing"), "neither a model"),
        (("segment", "ct.nii.gz", *BOX, "--backend", "tpu"), "No backend"),
        (("segment", "ct.nii.gz", *BOX, "--weights", "w.pth"), "no weights file"),
        (("segment", "ct.nii.gz", *BOX, "--nothing"), "No such option"),
        (("segment", *BOX), "Missing argument"),
        ((*EVALUATE, "--classes", "5"), "no class 5"),
        ((*EVALUATE, "--classes", "a,b"), "whole numbers"),
        ((*EVALUATE, "--mode", "half"), "--mode"),
        ((*EVALUATE, "--effort", "--mode", "volume"), "ways of its own"),
        ((*EVALUATE, "--effort", "--propagation", "mask"), "ways of its own"),
        ((*EVALUATE, "--json", "none/report.json"), "no folder"),
        ((*EVALUATE, "--json", "."), "a folder has that name"),
        ((*EVALUATE, "--json", "labels.nii.gz"), "input itself"),
        ((*EVALUATE, "--tolerance-mm", "-1"), "tolerance-mm"),
        (("evaluate", "--image", "ct.nii.gz"), "Missing option"),
        (("info", "nothing"), "neither a model"),
        (("info", "text.nii.gz"), "text.nii.gz"),
        (("info", "picture.png"), "it is no PyTorch file"),
        (("demo", "--out", "text.nii.gz"), "a file has that name"),
        ((*TRAIN, "text.nii.gz"), "a file has that name"),
        ((*ON_DATA, "none"), "There is no data folder"),
        (("train", "qat", "--out", "run", "--model", "none.pth"), "none.pth"),
        (("evaluate-modalities", "--data", "none"), "There is no data folder"),
        ((*ON_DATA, "."), "no labels for them"),
        ((*ON_DATA, "mixture", "--model", "best"), "No model is called 'best'"),
        ((*ON_DATA, "mixture", "--start", "none.pth"), "none.pth"),
        ((*TRAIN, "run", "--config", "none.yaml"), "none.yaml"),
        ((*TRAIN, "run", "--config", "picture.png"), "picture.png"),
        ((*TRAIN, "run", "--steps", "0"), "steps"),
        ((*TRAIN, "run", "--export", "none/w.safetensors"), "no folder"),
        ((*TRAIN, "run", "--export", "w.pth"), "must end in .safetensors"),
        (("quantize", "--bits", "9"), "--bits"),
        (("quantize", "--method", "awq"), "awq"),
        (("quantize", "--granularity", "group:0"), "at least 1"),
        (("quantize", "-o", "model.bin"), ".qmedsam.safetensors"),
        (("quantize", "-o", "none/m.qmedsam.safetensors"), "no folder"),
        (("quantize", "--recipe", "none.yaml"), "none.yaml"),
        (("quantize", "-o", "text.nii.gz/m.qmedsam.safetensors"), "Cannot write"),
        (("quantize", "--calibration", "text"), "no readable volume"),
        (("quantize", "--calibration", "empty"), "is empty"),
        (("export", "-o", "text.nii.gz"), "a file has that name"),
        (("export", "-o", "text.nii.gz/out"), "a file has that name"),
        (
            ("evaluate-modalities", "--data", "phantoms", "--out", "text.nii.gz"),
            "a file has that name",
        ),
        (("quantize", "--budget-mb", "1", "--avg-bits", "3"), "not both"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_two(
    run, scan, tmp_path, arguments, complaint
):
    (tmp_path / "text.nii.gz").write_text("this is no scan")
    (tmp_path / "text").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no scan either")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    frames = np.zeros((32, 32, 6, 2), np.int16)
    nib.save(nib.Nifti1Image(frames, np.eye(4)), tmp_path / "frames.nii.gz")
    before = set(tmp_path.rglob("*"))
    status, out, err = run(*arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert complaint in err
    assert set(tmp_path.rglob("*")) == before


def test_outputs_are_checked_before_the_model_is_loaded(run, scan, monkeypatch):
    monkeypatch.setattr(shared, "segmenter", lambda *rest: pytest.fail("loaded"))
    for arguments in (
        ("segment", "ct.nii.gz", *BOX, "-o", "none/out.nii.gz"),
        (*EVALUATE, "--json", "none/report.json"),
    ):
        assert run(*arguments)[0] == 2


def test_full_disk_is_one_line(run, fake_model, scan, monkeypatch):
    def fail(*rest):
        raise OSError(errno.ENOSPC, "No space left on device", "report.json.part")

    monkeypatch.setattr(shared, "write_text", fail)
    status, _, err = run(*EVALUATE, "--json", "report.json")
    assert status == 2
    assert err == "Error: No space left on device 'report.json.part'.\n"


def test_no_internet_is_one_line_that_names_the_way_out(run, scan, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing listens
    status, out, err = run("segment", "ct.nii.gz", *BOX, "--model", "lite_medsam")
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert "--weights FILE" in err


def test_without_the_better_model_the_embedded_one_runs_with_one_note(scan, tmp_path):
    done = subprocess.run(
        [QMEDSAM, "segment", "ct.nii.gz", *BOX, *KNOWN, "--backend", "torch", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "demo"
    assert done.stderr.startswith("Note: 'demo' runs")
    assert "qmedsam fetch lite_medsam" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_official_model_runs_where_its_weights_are(
    run, scan, monkeypatch, official_lite_medsam
):
    monkeypatch.setenv("QMEDSAM_HOME", str(official_lite_medsam.parents[1]))
    status, out, err = run("segment", "ct.nii.gz", *BOX, *KNOWN, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["model"] == "lite_medsam"


def test_a_guessed_modality_is_told_and_can_be_overruled(run, scan):
    command = ("segment", "ct.nii.gz", *BOX, "--model", "demo", "--json")
    status, out, err = run(*command, "-o", "a.nii.gz")
    report = json.loads(out)
    assert (status, report["modality"]) == (0, "CT")
    assert report["window"] == [-160, 240]
    assert err == f"Note: {report['notices'][0]}\n"
    assert "by its values it was taken for CT" in err
    status, out, err = run(*command, "--modality", "mr", "-o", "b.nii.gz")
    report = json.loads(out)
    assert (status, err, report["modality"]) == (0, "", "MR")
    assert report["window"] != [-160, 240]
    status, _, err = run(*command, "--modality", "CTA", "-o", "c.nii.gz")
    assert status == 2
    assert "--modality 'CTA' must be one of CT, MR, PET, US, X-Ray" in err


def test_a_notice_is_printed_once(scan, tmp_path):
    frames = np.zeros((32, 32, 6, 2), np.int16)
    nib.save(nib.Nifti1Image(frames, np.eye(4)), tmp_path / "frames.nii.gz")
    done = subprocess.run(
        [
            QMEDSAM,
            "segment",
            "frames.nii.gz",
            *BOX,
            *KNOWN,
            "--model",
            "demo",
            "--json",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "Note: The file holds 2 frames; frame 0 was read.\n"
    assert len(json.loads(done.stdout)["notices"]) == 1


def test_ctrl_c_ends_the_process_with_130_and_no_output(scan, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from napari_qmedsam.cli import main\n"
        "from napari_qmedsam.segmentation.segmenter import SliceSegmenter\n"
        "encode = SliceSegmenter.embed\n"
        "def pressed(self, *rest):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return encode(self, *rest)\n"
        "SliceSegmenter.embed = pressed\n"
        "main()\n"
    )
    before = set(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", code, "segment", "ct.nii.gz", *BOX],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")
    assert set(tmp_path.rglob("*")) == before


def test_a_reader_that_has_enough_is_no_error():
    with subprocess.Popen(
        [QMEDSAM, "models", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_ctrl_c_leaves_no_output(run, fake_model, scan, monkeypatch):
    def stop(model_input):
        raise KeyboardInterrupt

    monkeypatch.setattr(fake_model, "encode", stop)
    status, _, err = run("segment", "ct.nii.gz", *BOX, "-o", "out.nii.gz")
    assert status == 130
    assert err == "Stopped.\n"
    assert not Path("out.nii.gz").exists()


def test_long_paths_stay_whole_when_piped(run, fake_model, scan, tmp_path):
    folder = tmp_path / ("a_long_name_" * 12)
    folder.mkdir()
    target = folder / "out.nii.gz"
    _, out, _ = run("segment", "ct.nii.gz", *BOX, "-o", target)
    assert str(target) in out


def test_brackets_in_paths_are_no_markup(run, fake_model, scan, tmp_path):
    folder = tmp_path / "[bold]study"
    folder.mkdir()
    _, out, _ = run("segment", "ct.nii.gz", *BOX, "-o", folder / "[red]out.nii.gz")
    assert str(folder / "[red]out.nii.gz") in out


def test_models_and_info_say_where_weights_are(run):
    status, out, _ = run("models", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(rows) == {"demo", "demo-qat", "lite_medsam", "medsam_vit_b"}
    assert rows["demo"]["installed"]
    assert not rows["lite_medsam"]["installed"]
    status, out, _ = run("info", "demo", "--json")
    card = json.loads(out)
    assert card["architecture"] == "demo"
    assert "not for clinical use" in " ".join(card["limits"].split())
    assert card["size_bytes"] == os.path.getsize(card["file"])
    status, out, _ = run("info", "medsam_vit_b", "--json")
    assert json.loads(out)["installed"] is False


def test_fetch_says_where_the_weights_are_and_whose(run, monkeypatch, tmp_path):
    status, out, _ = run("fetch", "demo")
    assert status == 0
    assert out.strip().endswith("demo.safetensors")
    status, _, err = run("fetch", "medsam")
    assert status == 2
    assert "No checkpoint is called 'medsam'" in err
    path = tmp_path / "weights" / "lite_medsam.pth"
    path.parent.mkdir()
    path.touch()
    os.truncate(path, CATALOGUE["lite_medsam"].size_bytes)
    monkeypatch.setenv("QMEDSAM_HOME", str(tmp_path))
    status, out, _ = run("fetch", "lite_medsam")
    assert status == 0
    assert str(path) in out
    assert "Apache-2.0" in out
    assert "Nature Communications" in out


def test_info_reads_well_without_json(run):
    status, out, _ = run("info", "demo")
    assert status == 0
    assert "architecture: demo\n" in out
    assert "{" not in out


def test_train_makes_a_model_and_goes_on_where_it_stopped(
    run, tiny_config, scan, monkeypatch, tmp_path
):
    from napari_qmedsam.models.configuration import CONFIGS

    monkeypatch.setitem(CONFIGS, "demo", tiny_config)
    few = "warmup: 1\nslices_per_step: 1\nsamples: 1\nvalidation_slices: 1\n"
    (tmp_path / "few.yaml").write_text(f"steps: 2\n{few}")
    arguments = (*TRAIN, "run", "--workers", "0")
    status, out, err = run(*arguments, "--config", "few.yaml")
    assert status == 0, err
    assert out == f"Weights: {Path('run/demo.safetensors')}\n"
    assert os.stat("run/demo.safetensors").st_mode & 0o777 == (
        os.stat("few.yaml").st_mode & 0o777
    )
    card = json.loads(run("info", "run/demo.safetensors", "--json")[1])
    assert card["training"]["step"] == 2
    assert "not for clinical use" in " ".join(card["limits"].split())
    (tmp_path / "few.yaml").write_text(f"steps: 3\n{few}")
    status, _, err = run(
        *arguments, "--config", "few.yaml", "--export", "w.safetensors"
    )
    assert status == 0, err
    assert (
        json.loads(run("info", "w.safetensors", "--json")[1])["training"]["step"] == 3
    )
    assert len(Path("run/log.csv").read_text().splitlines()) == 4
    status, _, err = run("segment", "ct.nii.gz", *BOX, "--model", "w.safetensors")
    assert status == 0, err
    status, _, err = run(*arguments, "--config", "few.yaml", "--seed", "7")
    assert status == 2
    assert "started with seed 0, but 7 is asked for" in err


def test_training_goes_on_from_weights_on_a_folder(run, tiny_config, tmp_path):
    import torch

    from napari_qmedsam.checkpoints.saving import save_model
    from napari_qmedsam.models import build_model

    torch.manual_seed(0)
    save_model(build_model("tiny"), tmp_path / "start.safetensors")
    for name in "ab":
        imgs = np.zeros((2, 40, 40), np.uint8)
        imgs[:, 8:30, 10:30] = 200
        (tmp_path / "data" / "CT").mkdir(parents=True, exist_ok=True)
        np.savez(
            tmp_path / "data" / "CT" / f"{name}.npz",
            imgs=imgs,
            gts=(imgs > 0).astype(np.uint8),
        )
    (tmp_path / "few.yaml").write_text("slices_per_step: 2\nworkers: 0\nwarmup: 0\n")
    arguments = ("train", "float", "--out", "run", "--config", "few.yaml")
    status, out, err = run(
        *arguments, "--data", "data", "--start", "start.safetensors", "--steps", "2"
    )
    assert status == 0, err
    assert out == f"Weights: {Path('run/tiny.safetensors')}\n"
    card = json.loads(run("info", "run/tiny.safetensors", "--json")[1])
    assert card["training"]["data"] == "a data folder with 2 CT slices"
    assert card["training"]["start"] == "start.safetensors"
    assert card["command"] == (
        "qmedsam train float --data data --start start.safetensors --config few.yaml "
        "--steps 2 --seed 0"
    )
    assert "CT" in Path("run/log.csv").read_text().splitlines()[0]


def test_qat_writes_a_model_for_each_stage_and_scores_them_by_modality(
    run, tiny_config, tmp_path
):
    import torch

    from napari_qmedsam.checkpoints.saving import save_model
    from napari_qmedsam.models import build_model

    torch.manual_seed(0)
    save_model(build_model("tiny"), tmp_path / "start.safetensors")
    (tmp_path / "few.yaml").write_text(
        "samples: 1\nslices_per_step: [3, 3, 3]\nprompts: 2\nworkers: 0\n"
        "warmup_epochs: 0\nannealing_epochs: 1\ncalibration_steps: 1\n"
        "validation_slices: 1\n"
    )
    arguments = ("train", "qat", "--out", "run", "--model", "start.safetensors")
    status, out, err = run(*arguments, "--config", "few.yaml")
    assert status == 0, err
    assert out == f"Weights: {Path('run/tiny-qat.safetensors')}\n"
    card = json.loads(run("info", "run/tiny-qat.safetensors", "--json")[1])
    assert card["training"]["stage"] == "stage-3"
    assert card["command"] == (
        "qmedsam train qat --data phantoms --model start.safetensors --config few.yaml "
        "--seed 0"
    )
    status, out, err = run(
        "evaluate-modalities", "--data", "phantoms", "--cases", "1", "--backend",
        "torch", "--model", "Stage 1:=run/stage-1.safetensors", "--model",
        "Stage 3:=run/tiny-qat.safetensors", "--out", "scores",
    )  # fmt: skip
    assert status == 0, err
    lines = Path("scores/modalities.csv").read_text().splitlines()
    assert lines[0].split(",")[:2] == ["modality", "Stage 1: DSC %"]
    assert [line.split(",")[0] for line in lines[1:]] == [
        "CT",
        "MR",
        "Mosaic",
        "Average",
    ]
    assert len(Path("scores/cases.csv").read_text().splitlines()) == 7


def test_demo_model_beats_the_filled_box_on_a_phantom(run, tmp_path):
    from napari_qmedsam.evaluation.metrics import dice
    from napari_qmedsam.phantoms.abdomen import abdomen_case
    from napari_qmedsam.volumes import write_labels, write_volume
    from napari_qmedsam.volumes.volume import Modality

    case = abdomen_case(Modality.CT, 5, (6, 96, 96), (12.0, 3.6, 3.6))
    write_volume(case.volume, tmp_path / "ct.nii.gz")
    write_labels(case.labels.array, case.volume, tmp_path / "ref.nii.gz")
    status, out, err = run(
        "evaluate", "--image", "ct.nii.gz", "--labels", "ref.nii.gz", "--json", "-"
    )
    assert status == 0, err
    filled = []
    for plane in case.labels.array:
        for value in np.unique(plane)[1:]:
            truth = plane == value
            if truth.sum() >= 100:
                box = np.zeros_like(truth)
                rows, columns = np.nonzero(truth)
                box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 1
                filled.append(dice(box, truth))
    report = json.loads(out)
    assert report["count"] == len(filled)
    assert report["mean"]["dsc"] > 100 * np.mean(filled) + 5


@pytest.mark.parametrize(
    ("image", "labels", "filled_box"),
    [
        ("ct_abdomen_3mm.nii.gz", "ct_abdomen_3mm_labels.nii.gz", 69.0),
        ("mr_abdomen_3mm.nii.gz", "mr_abdomen_3mm_labels.nii.gz", 78.5),
        ("mr_brain_tumour.nrrd", "mr_brain_tumour_labels.nrrd", 70.0),
    ],
)
def test_demo_model_beats_the_filled_box_on_real_scans(run, image, labels, filled_box):
    if not SHARED.is_dir():
        pytest.skip(f"no real volumes at {SHARED}")
    status, out, err = run(
        "evaluate",
        "--image",
        SHARED / image,
        "--labels",
        SHARED / labels,
        "--json",
        "-",
    )
    assert status == 0, err
    assert json.loads(out)["mean"]["dsc"] > filled_box


def test_evaluate_takes_labels_that_do_not_belong_to_the_scan_for_an_error(run):
    if not SHARED.is_dir():
        pytest.skip(f"no real volumes at {SHARED}")
    status, out, err = run(
        "evaluate",
        "--image", SHARED / "ct_abdomen_3mm.nii.gz",
        "--labels", SHARED / "mr_abdomen_3mm_labels.nii.gz",
    )  # fmt: skip
    assert (status, out) == (2, "")
    assert "wholly outside" in err


def test_ctrl_c_in_training_says_that_the_run_is_kept(run, tiny_config, monkeypatch):
    from napari_qmedsam.models.configuration import CONFIGS
    from napari_qmedsam.training.loop import TrainingLoop

    monkeypatch.setitem(CONFIGS, "demo", tiny_config)
    step = TrainingLoop._step

    def pressed(self, batch):
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(TrainingLoop, "_step", pressed)
    status, out, err = run(*TRAIN, "run", "--workers", "0")
    assert (status, out) == (130, "")
    assert err == "The run is kept in 'run'; the same command goes on.\nStopped.\n"
    assert {path.name for path in Path("run").iterdir()} == {"last.pt", "log.csv"}


def test_quantized_model_segments_like_any_other(run, tiny_config, scan, tmp_path):
    import torch

    from napari_qmedsam.checkpoints.saving import save_model
    from napari_qmedsam.models import build_model

    torch.manual_seed(0)
    save_model(build_model("tiny"), tmp_path / "tiny.safetensors")
    made = "tiny.qmedsam.safetensors"
    arguments = ("quantize", "--model", "tiny.safetensors", "--slices", "2", "-o", made)
    status, out, err = run(*arguments, "--calibration", "ct.nii.gz", "--json")
    assert status == 0, err
    report = json.loads(out)
    assert report["size_bytes"] == os.path.getsize(made) < report["float_size_bytes"]
    assert 4 < report["effective_bits"] < 9
    assert all(0 <= layer["relative_error"] < 1 for layer in report["layers"])
    status, out, _ = run("info", made, "--json")
    card = json.loads(out)
    assert card["effective_bits"] == pytest.approx(report["effective_bits"], abs=1e-3)
    assert card["recipe"]["settings"]["bit_width"] == 4
    assert card["calibration"]["volumes"] == 1
    status, out, err = run("segment", "ct.nii.gz", *BOX, "--model", made, "--json")
    assert status == 0, err
    assert json.loads(out)["model"] == made
    status, out, err = run(*arguments, "--avg-bits", "6", "--method", "comq")
    assert status == 0, err
    assert json.loads(run("info", made, "--json")[1])["effective_bits"] <= 6


def test_recipe_is_shown_with_its_defaults_and_read_back(run, tmp_path):
    status, out, _ = run("quantize", "--show-recipe", "--bits", "3")
    assert status == 0
    assert "bit_width: 3" in out
    assert "sweeps:" in out
    (tmp_path / "recipe.yaml").write_text(out)
    assert run("quantize", "--recipe", "recipe.yaml", "--show-recipe")[1] == out


def test_an_earlier_result_is_written_over_only_by_name(run, scan):
    status, _, err = run("segment", "ct.nii.gz", *BOX)
    assert status == 0, err
    before = Path("ct_labels.nii.gz").read_bytes()
    status, _, err = run("segment", "ct.nii.gz", *BOX)
    assert status == 2
    assert "'ct_labels.nii.gz' exists already" in err
    assert Path("ct_labels.nii.gz").read_bytes() == before
    assert run("segment", "ct.nii.gz", *BOX, "-o", "ct_labels.nii.gz")[0] == 0


def test_score_compares_labels_without_a_model(run, scan):
    own = np.roll(scan, 1, axis=1)
    image = sitk.ReadImage("labels.nii.gz")
    other = sitk.GetImageFromArray(own)
    other.CopyInformation(image)
    sitk.WriteImage(other, "own.nrrd")
    files = ("--labels", "own.nrrd", "--reference", "labels.nii.gz")
    status, out, _ = run("score", *files, "--json")
    assert status == 0
    report = json.loads(out)
    assert [item["number"] for item in report["objects"]] == [1, 2]
    # 12 rows, all but one shared.
    assert report["objects"][0]["dsc"] == pytest.approx(100 * 11 / 12, abs=1e-3)
    assert report["volume_unit"] == "ml"
    status, out, _ = run("score", *files, "--match", "overlap", "-o", "scores.csv")
    assert status == 0
    assert "label 1" in out
    assert Path("scores.csv").read_text().startswith("object,reference,DSC %")
    status, _, err = run("score", *files, "--match", "luck")
    assert status == 2
    assert "number or name or overlap" in err


def test_report_measures_objects(run, scan, tmp_path):
    (tmp_path / "mine.csv").write_text("id,name\n1,liver\n2,spleen\n3,nowhere\n")
    files = ("--image", "ct.nii.gz", "--labels", "labels.nii.gz")
    status, out, _ = run(
        "report", *files, "--class-list", "mine.csv", "--json", "-o", "r.csv"
    )
    assert status == 0
    liver, spleen = json.loads(out)["objects"]
    assert (liver["name"], liver["slices"], liver["voxels"]) == ("liver", 3, 504)
    assert (liver["mean"], liver["spread"]) == (200, 0)
    assert spleen["name"] == "spleen"
    assert Path("r.csv").read_text().splitlines()[1].startswith("1,liver,3,504,")
    status, _, err = run("report", *files, "--class-list", "mine.txt")
    assert status == 2
    assert "no class list" in err
