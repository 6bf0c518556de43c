"""score and report: labels measured without a model."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk


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
