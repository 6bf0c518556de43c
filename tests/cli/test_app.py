"""The command as a whole: help, one-line errors, Ctrl-C."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_qmedsam.cli import shared

BOX = ("--box", "2,5,3,21,17")

TRAIN = ("train", "demo", "--out")

ON_DATA = ("train", "float", "--out", "run", "--data")

EVALUATE = ("evaluate", "--image", "ct.nii.gz", "--labels", "labels.nii.gz")

QMEDSAM = Path(sys.executable).with_name("qmedsam")
"""The installed command."""

HEAVY = ("torch", "openvino", "napari", "qtpy", "PyQt6", "nibabel", "cv2", "scipy")


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
        (("segment", *BOX), "Name an image"),
        ((*EVALUATE, "--classes", "5"), "no class 5"),
        ((*EVALUATE, "--classes", "a,b"), "whole numbers"),
        ((*EVALUATE, "--mode", "half"), "--mode"),
        ((*EVALUATE, "--effort", "--mode", "volume"), "ways of its own"),
        ((*EVALUATE, "--effort", "--follow", "mask"), "ways of its own"),
        ((*EVALUATE, "--json", "none/report.json"), "no folder"),
        ((*EVALUATE, "--json", "."), "a folder has that name"),
        ((*EVALUATE, "--json", "labels.nii.gz"), "input itself"),
        ((*EVALUATE, "--tolerance-mm", "-1"), "tolerance-mm"),
        (("evaluate", "--image", "ct.nii.gz"), "Give --image and --labels"),
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

    monkeypatch.setattr(shared, "write_report", fail)
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


def test_a_table_wider_than_the_screen_comes_in_parts(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "50")
    heads = [f"{model}: DSC %" for model in ("LiteMedSAM", "Stage 1", "Stage 2")]
    numbers = [f"{70 + n}.123456789" for n in range(3)]
    shared.print_table([["modality", *heads], ["Endoscopy", *numbers]], has_mean=True)
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(number in shown for number in numbers)
    assert shown.count("Endoscopy") == 2
    assert max(map(len, shown.splitlines())) <= 50
