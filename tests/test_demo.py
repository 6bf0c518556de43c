"""The demonstration: quick on small phantoms with a made-up model, slow for real."""

import subprocess
import sys
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_qmedsam import demo
from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.segmentation.segmenter import SliceSegmenter

CASES = ("ct_phantom", "mr_phantom")


@pytest.fixture
def small(monkeypatch):
    """Make the sample volumes small: 8 slices of 96 by 96."""
    monkeypatch.setattr(
        demo,
        "abdomen_case",
        lambda modality, seed: abdomen_case(
            modality, seed, (8, 96, 96), (18.0, 3.6, 3.6)
        ),
    )


def check_files(folder: Path, sizes: int) -> None:
    for name in CASES:
        image = sitk.ReadImage(str(folder / f"{name}.nii.gz"))
        labels = sitk.ReadImage(str(folder / f"{name}_labels.nii.gz"))
        for kind in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
            assert getattr(labels, kind)() == getattr(image, kind)()
        assert sitk.GetArrayFromImage(labels).max() > 0
        sheet = cv2.imread(str(folder / f"{name}.png"))
        assert sheet.shape[1] == 1280
        assert sheet.shape[0] >= sizes
        assert sheet.std() > 10


def test_demo_scores_every_organ_and_writes_labels_and_pictures(
    small, backend, tmp_path
):
    steps = []
    results = list(
        demo.run_demo(
            SliceSegmenter(backend),
            tmp_path / "new" / "folder",
            lambda name, done, total: steps.append((name, done, total)),
        )
    )
    assert tuple(result.name for result in results) == CASES
    assert steps == [(name, z + 1, 8) for name in CASES for z in range(8)]
    for result in results:
        names = [item.name for item in result.objects]
        assert {"liver", "spleen", "aorta"} <= set(names) <= set(demo.ORGANS)
        assert names == sorted(names, key=demo.ORGANS.index)
        for scores in (item.scores for item in result.objects):
            assert 0 <= scores.dsc <= 1
            assert 0 <= scores.nsd <= 1
        assert all(1 <= item.slices <= 8 for item in result.objects)
        assert result.labels.exists()
        assert result.reference.exists()
        assert result.sheet.exists()
    check_files(tmp_path / "new" / "folder", 600)


def test_demo_scores_are_those_of_the_labels_it_writes(small, backend, tmp_path):
    """Score the written file against the phantom once more, by counting voxels."""
    result = next(demo.run_demo(SliceSegmenter(backend), tmp_path))
    case = demo.abdomen_case(demo.Modality.CT, demo.SEED)
    written = np.asarray(nib.load(result.labels).dataobj).transpose(2, 1, 0)
    ids = {organ: label for label, organ in case.names.items()}
    for item in result.objects:
        found, truth = written == ids[item.name], case.labels.array == ids[item.name]
        overlap = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        assert item.scores.dsc == pytest.approx(overlap)


@pytest.mark.slow
def test_demo_command_from_start_to_end(tmp_path):
    command = Path(sys.executable).with_name("qmedsam")
    done = subprocess.run(
        [command, "demo", "--out", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "not for clinical use" in done.stdout
    assert done.stdout.count("ms per slice") == 2
    for name in CASES:
        assert str(tmp_path / f"{name}.png") in done.stdout
    check_files(tmp_path, 900)
