"""segment and evaluate over many cases: options, tables, exit status."""

import csv
from pathlib import Path

import numpy as np
import pytest

from napari_qmedsam.cli import cohorts
from napari_qmedsam.cohort import work
from napari_qmedsam.cohort.executors import DaskCluster, InThisProcess, LocalProcesses
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.volumes import read_labels, write_labels, write_volume

EVALUATE = ("evaluate", "--images", "images", "--labels", "labels")


@pytest.fixture
def here(monkeypatch, new_backend):
    """Work in this process, with the made-up model in place of every model."""
    backend = new_backend()
    monkeypatch.setattr(cohorts.Machines, "executor", lambda self: InThisProcess())
    monkeypatch.setattr(work, "loaded", lambda m: work.WorkerModel(backend, "one"))
    return backend


@pytest.fixture
def folders(tmp_path, bright_volume):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number in range(6):
        truth = np.zeros((3, 32, 32), np.uint8)
        truth[1:3, 4:16, 6 : 18 + number] = 1
        volume = bright_volume(truth > 0)
        write_volume(volume, tmp_path / "images" / f"ct_{number}.nii.gz")
        write_labels(truth, volume, tmp_path / "labels" / f"ct_{number}.nii.gz")
    return tmp_path


def rows(path):
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_evaluate_scores_every_case_by_every_model(run, folders, here):
    status, out, err = run(
        *EVALUATE, "--model", "demo", "--model", "same:=demo", "--against", "same"
    )
    assert status == 0, err
    assert "'demo FP32' is enough on these 6 patients" in out
    assert len(rows("qmedsam-run/scores.csv")) == 6 * 2 * 2
    assert {row["DSC %"] for row in rows("qmedsam-run/summary.csv")} == {
        "100.00 (100.00 to 100.00)"
    }
    (verdict,) = rows("qmedsam-run/verdict.csv")
    assert (verdict["against"], verdict["verdict"]) == ("same", "enough")
    assert "6 of 6 cases" in err


def test_a_report_is_made_of_runs(run, folders, here):
    run(*EVALUATE, "--model", "demo", "--run", "one")
    status, out, err = run("report", "one")
    assert status == 0, err
    assert "Report: one/report/report.html" in out
    assert "6 cases of 6 patients" in Path("one/report/report.html").read_text()
    status, _, err = run("report", "one", "two", "-o", "out")
    assert status == 2
    assert "'two' is no folder of a run" in err


def test_a_broken_case_is_told_by_text_and_status(run, folders, here):
    Path("images/ct_3.nii.gz").write_bytes(b"broken")
    status, out, err = run(*EVALUATE, "--model", "demo")
    assert status == cohorts.FAILED == 1
    assert "Failed: ct_3: Cannot read 'ct_3.nii.gz'" in err
    assert len(rows("qmedsam-run/scores.csv")) == 5 * 2
    assert "Run: qmedsam-run" in out


def test_a_list_names_the_cases(run, folders, here):
    Path("list.csv").write_text(
        "image,label,patient\n"
        "images/ct_0.nii.gz,labels/ct_0.nii.gz,P1\n"
        "images/ct_1.nii.gz,labels/ct_1.nii.gz,P1\n"
    )
    status, _, err = run("evaluate", "--case-list", "list.csv", "--model", "demo")
    assert status == 0, err
    assert {row["patient"] for row in rows("qmedsam-run/scores.csv")} == {"P1"}
    assert rows("qmedsam-run/summary.csv")[0]["patients"] == "1"


def test_segment_writes_labels_of_every_image(run, folders, here):
    Path("boxes.csv").write_text(
        "image,x_min,y_min,z_min,x_max,y_max,z_max\n"
        "ct_0.nii.gz,6,4,1,18,16,3\nct_1.nii.gz,6,4,1,19,16,2\n"
    )
    status, out, err = run(
        "segment", "--images", "images", "--boxes", "boxes.csv", "--model", "demo"
    )
    assert status == 0, err
    assert "2 of 2 images segmented" in out
    assert "without a box: 4" in err
    found = [
        Path("qmedsam-run/labels", r["labels"]) for r in rows("qmedsam-run/objects.csv")
    ]
    assert [np.count_nonzero(read_labels(p).array) for p in found] == [288, 156]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("evaluate",), "Give --image and --labels, or many cases"),
        (("segment",), "Name an image, or many"),
        (("report",), "Give --image and --labels, or folders of runs"),
        (("report", "one", "--image", "a"), "--image would have no effect"),
        (
            ("report", "--image", "a", "--labels", "b", "--against", "x"),
            "--against would have no effect",
        ),
        ((*EVALUATE[:3],), "Give the folder of the reference labels"),
        (("segment", "--images", "images"), "Give the boxes of the images"),
        ((*EVALUATE, "--effort"), "--effort would have no effect: it is for a single"),
        ((*EVALUATE, "--bits", "9"), "--bits '9' must be numbers from 1 to 8"),
        ((*EVALUATE, "--margin-dsc", "0"), "margin of the DSC must be above 0"),
        ((*EVALUATE, "--pattern", "x"), "each with {case} once"),
        ((*EVALUATE, "--seed", "1"), "--seed would have no effect"),
        (
            ("evaluate", "--image", "a", "--labels", "b", "--workers", "2"),
            "--workers would have no effect: it is for many cases",
        ),
        (
            ("evaluate", "--image", "a", "--labels", "b", "--bits", "4"),
            "--bits would have no effect",
        ),
        (
            ("segment", "a.nii", "--box", "0,1,1,2,2", "--boxes", "b.csv"),
            "--boxes would have no effect",
        ),
        (
            ("segment", "a.nii", "--box", "0,1,1,2,2", "--model", "a", "--model", "b"),
            "Several models are for many cases",
        ),
        (
            (*EVALUATE, "--model", "demo", "--model", "demo"),
            "Two models are called 'demo FP32'",
        ),
        (
            (*EVALUATE, "--model", "demo", "--against", "x"),
            "No model is called 'x'. There are demo FP32",
        ),
        ((*EVALUATE, "--model", "demo-qat", "--bits", "4"), "--bits quantizes a float"),
    ],
)
def test_what_does_not_go_together_is_refused(run, folders, here, command, why):
    status, _, err = run(*command)
    assert status == 2
    assert why in err
    assert not here.encoded


def test_workers_are_as_many_as_memory_allows(monkeypatch):
    monkeypatch.setattr(cohorts.os, "cpu_count", lambda: 16)
    monkeypatch.setattr(cohorts, "_memory_of_machine", lambda: 10 << 30)
    executor = cohorts.Machines(None, 4.0, None).executor()
    assert executor == LocalProcesses(2, 4 << 30)
    assert cohorts.Machines(5, 4.0, None).executor() == LocalProcesses(5, 4 << 30)
    assert cohorts.Machines(5, 4.0, "tcp://a:1").executor() == DaskCluster("tcp://a:1")


def test_a_model_may_be_asked_for_in_int8():
    given = {
        "model": ["small:=demo@int8", "demo"],
        "backend": "openvino",
        "precision": "fp32",
        "device": "auto",
    }
    small, full = cohorts.planned_models(given)
    assert (small.variant.name, small.variant.precision) == ("small", "int8")
    assert small.sha256 != full.sha256
    assert small.variant.runtime.threads == cohorts.THREADS
    with pytest.raises(InvalidSettings, match="Several models"):
        cohorts.one_model(["a", "b"])
