"""evaluate: labels in, scores out."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

SHARED = Path(__file__).parents[3] / "shared" / "data"


def test_evaluate_takes_series_for_image_and_labels(
    run, fake_model, scan, write_series, tmp_path
):
    for name in ("ct", "labels"):
        image = sitk.Cast(sitk.ReadImage(f"{name}.nii.gz"), sitk.sitkInt16)
        write_series(image, tmp_path / name)
    status, out, err = run("evaluate", "--image", "ct", "--labels", "labels")
    assert status == 0, err
    assert "100.00" in out


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
