"""segment: files in, files out."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

BOX = ("--box", "2,5,3,21,17")

KNOWN = ("--modality", "CT")
"""Given, so that no note tells a guess."""

QMEDSAM = Path(sys.executable).with_name("qmedsam")
"""The installed command."""


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


def test_slices_kept_on_disk_are_not_encoded_again(
    run, fake_model, scan, tmp_path, monkeypatch
):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path / "cache"))
    keeping = "segment", "ct.nii.gz", *BOX, "--embeddings-gb", "1", "-o"
    encoded = []
    for name in ("first.nii.gz", "second.nii.gz"):
        # What a process of its own starts with.
        fake_model.encoded.clear()
        assert run(*keeping, name)[0] == 0
        encoded.append(len(fake_model.encoded))
    assert encoded == [1, 0]
    first, second = (sitk.ReadImage(n) for n in ("first.nii.gz", "second.nii.gz"))
    np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, (first, second)))


def test_boxes_on_slices_come_before_boxes_over_slices(run, fake_model, scan):
    status, _, _ = run(
        "segment", "ct.nii.gz", "--box3d", "17,19,2,31,31,5",
        "--box", "1,5,3,21,17", "--follow", "box",
    )  # fmt: skip
    assert status == 0
    labels = nib.load("ct_labels.nii.gz").get_fdata().transpose(2, 1, 0)
    expected = np.where(scan == 2, 2, 0)
    expected[1][scan[1] == 1] = 1
    np.testing.assert_array_equal(labels, expected)


def written():
    return nib.load("out.nii.gz").get_fdata().transpose(2, 1, 0)


def test_one_box_is_propagated_to_the_whole_object(run, fake_model, scan):
    one = ("segment", "ct.nii.gz", *BOX, "-o", "out.nii.gz", *KNOWN)
    status, out, err = run(*one, "--carry", "both")
    assert status == 0, err
    np.testing.assert_array_equal(written(), np.where(scan == 1, 1, 0))
    assert "it ends before slice" in out
    run(*one, "--propagate", "up")
    assert np.flatnonzero(written().any(axis=(1, 2))).tolist() == [2, 3]
    kept = json.loads(Path("out.nii.gz.provenance.json").read_text())
    assert kept["objects"][0]["box"]["z_max"] == 4


def test_boxes_on_slices_are_keys_of_one_object(run, fake_model, scan):
    keys = ("--box", "1,5,3,21,17", "--box", "3,5,3,21,17", "--keys")
    status, _, err = run("segment", "ct.nii.gz", *keys, "-o", "out.nii.gz", *KNOWN)
    assert status == 0, err
    np.testing.assert_array_equal(written(), np.where(scan == 1, 1, 0))


def test_pieces_empty_slices_and_tidying(run, fake_model, scan):
    one = ("segment", "ct.nii.gz", *BOX, "-o", "out.nii.gz", *KNOWN)
    more = ("--add", "2,17,19,31,31", "--take", "2,5,3,9,17", "--tighten")
    status, _, err = run(*one, *more)
    assert status == 0, err
    expected = (scan[2] == 1) | (scan[2] == 2)
    expected[3:17, 5:9] = False
    np.testing.assert_array_equal(written()[2], expected)
    run(*one, *more, "--largest-piece")
    assert not written()[2][scan[2] == 1].any() or not written()[2][scan[2] == 2].any()
    run(*one, "--propagate", "both", "--absent", "3")
    assert np.flatnonzero(written().any(axis=(1, 2))).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--carry", "left"), "--carry 'left' must be up or down or both"),
        (("--keys", *BOX), "one on a slice"),
        (("--add", "2,1,1,3,3", *BOX), "are of one object"),
        (("--add", "2,90,90,99,99"), "lies outside"),
    ],
)
def test_what_cannot_be_propagated_or_added_is_said(
    run, fake_model, scan, arguments, said
):
    status, _, err = run("segment", "ct.nii.gz", *BOX, *arguments)
    assert status == 2
    assert said in " ".join(err.split())


def test_a_box_far_too_large_says_so(run, fake_model, scan):
    status, _, err = run("segment", "ct.nii.gz", "--box", "1,0,0,32,40", *KNOWN)
    assert status == 0
    assert "object 1: its box is far too large." in err


def test_segment_reads_nrrd_and_dicom(run, fake_model, scan, write_series, tmp_path):
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


def test_labels_of_the_folder_one_stands_in_bear_its_name(
    run, fake_model, scan, write_series, tmp_path, monkeypatch
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


def test_the_default_is_the_embedded_best_model_and_needs_no_note(scan, tmp_path):
    done = subprocess.run(
        [QMEDSAM, "segment", "ct.nii.gz", *BOX, *KNOWN, "--backend", "torch", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["model"] == "qmedsam_lite"


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


def test_an_earlier_result_is_written_over_only_by_name(run, scan):
    status, _, err = run("segment", "ct.nii.gz", *BOX)
    assert status == 0, err
    before = Path("ct_labels.nii.gz").read_bytes()
    status, _, err = run("segment", "ct.nii.gz", *BOX)
    assert status == 2
    assert "'ct_labels.nii.gz' exists already" in err
    assert Path("ct_labels.nii.gz").read_bytes() == before
    assert run("segment", "ct.nii.gz", *BOX, "-o", "ct_labels.nii.gz")[0] == 0


@pytest.mark.slow
def test_precision_int8_lets_nncf_quantize_a_float_model_once(
    run, float_file, small_scan, tmp_path, monkeypatch
):
    pytest.importorskip("nncf", reason="extra nncf")
    from napari_qmedsam.runtime import nncf_subprocess

    plan = nncf_subprocess.CalibrationPlan(slices=2)
    monkeypatch.setattr(nncf_subprocess, "PLAN", plan)
    asked = ["segment", small_scan, "--box", "0,5,5,30,30", "--model", float_file]
    asked += ["--precision", "int8", "-o", tmp_path / "labels.nii.gz", "--json"]
    status, out, error = run(*asked)
    assert status == 0
    assert "NNCF makes one" in error
    assert json.loads(out.splitlines()[-1])["precision"] == "int8"
    monkeypatch.setattr(
        nncf_subprocess, "quantize_graphs_in_subprocess", None
    )  # not needed again
    assert run(*asked)[0] == 0


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_other_backends_have_no_int8_of_float_models(
    run, float_file, small_scan, backend
):
    asked = ["segment", small_scan, "--box", "0,5,5,30,30", "--model", float_file]
    status, _, error = run(*asked, "--precision", "int8", "--backend", backend)
    assert status == 2
    assert "float model" in error


def test_replay_makes_the_same_labels_again(run, scan):
    status, _, err = run(
        "segment", "ct.nii.gz", "--box", "2,5,3,21,17", "--model", "demo",
        "-o", "out.nii.gz", *KNOWN,
    )  # fmt: skip
    assert status == 0, err
    again = ("replay", "out.nii.gz", "--image", "ct.nii.gz", *KNOWN)
    status, out, err = run(*again, "-o", "again.nii.gz")
    assert status == 0, err
    assert "The labels are the same, voxel for voxel" in out
    first, second = (
        nib.load(f"{name}.nii.gz").get_fdata() for name in ("out", "again")
    )
    np.testing.assert_array_equal(first, second)
    path = Path("out.nii.gz.provenance.json")
    made = json.loads(path.read_text())
    path.write_text(json.dumps({**made, "labels_sha256": "0" * 64}))
    status, out, _ = run(*again)
    assert status == 1
    assert "not the same" in out
    status, _, err = run("replay", "ct.nii.gz", "--image", "ct.nii.gz")
    assert status == 2
    assert "no readable 'ct.nii.gz.provenance.json'" in err


def without_torch(*arguments):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from napari_qmedsam.cli import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_exported_graphs_run_without_torch(run, scan):
    assert run("export", "demo", "--format", "openvino", "-o", "graphs")[0] == 0
    options = ("segment", "ct.nii.gz", *BOX, *KNOWN, "--model", "graphs")
    assert run(*options, "-o", "with.nii.gz")[0] == 0
    done = without_torch(*options, "-o", "without.nii.gz")
    assert done.returncode == 0, done.stderr
    first, second = nib.load("with.nii.gz"), nib.load("without.nii.gz")
    np.testing.assert_array_equal(first.get_fdata(), second.get_fdata())


def test_what_needs_torch_says_so(scan, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = without_torch("quantize", "--model", "demo", "-o", "a.qmedsam.safetensors")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: This needs torch, which is not installed")
