"""Every example runs as a user starts it, and does what its page says."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_qmedsam import read_labels

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(p.name for p in EXAMPLES.glob("*.py") if p.name != "sample_scan.py")


def run(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_lists_them_all():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [script for script in SCRIPTS if f"({script})" not in page] == []
    assert len(SCRIPTS) == 4


def test_segment_volume(tmp_path):
    out = run("segment_volume.py", tmp_path)
    assert "slices segmented in" in out
    labels = read_labels(tmp_path / "labels.nii.gz").array
    assert set(np.unique(labels)) == {0, 1, 2, 3}


def test_propagate_slice(tmp_path):
    out = run("propagate_slice.py", tmp_path)
    truth = read_labels(tmp_path / "reference.nii.gz").array
    first, last = map(int, re.findall(r"over slices (\d+) to (\d+)", out)[0])
    kidney = np.flatnonzero((truth == 3).any(axis=(1, 2)))  # its place in ORGANS
    assert kidney[0] <= first < last <= kidney[-1] + 1
    assert out.count("at most") > last - first


def test_quantize_and_compare(tmp_path):
    out = run("quantize_and_compare.py", tmp_path)
    for name in ("demo FP32", "demo 4-bit RTN", "demo 2-bit RTN"):
        assert out.count(name) == 4  # the means and three objects
    assert len(list(tmp_path.glob("*.qmedsam.safetensors"))) == 2
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").count("\n") == 13


def test_score_one_slice(tmp_path):
    out = run("score_one_slice.py", tmp_path)
    scores = [float(line.split()[1]) for line in out.splitlines()]
    assert all(0.5 < score <= 1 for score in scores)
    assert len(scores) == 2


@pytest.mark.parametrize("name", SCRIPTS)
def test_examples_use_the_public_names_alone(name):
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert "from napari_qmedsam import" in text
    assert "napari_qmedsam." not in text
