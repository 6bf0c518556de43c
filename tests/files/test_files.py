"""A file of each kind and version, as it was written then, is read by what is now."""

import math
from pathlib import Path

import numpy as np
import pytest

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.cohort.merged_runs import read_runs
from napari_qmedsam.label_provenance import read_provenance
from napari_qmedsam.prompts import Box3D, Point
from napari_qmedsam.replay import replay
from napari_qmedsam.segmentation.case_folder import CaseFolder
from napari_qmedsam.volumes import read_labels, read_volume
from napari_qmedsam.volumes.volume import Modality

VERSIONS = sorted(path for path in Path(__file__).parent.glob("v*") if path.is_dir())

pytestmark = pytest.mark.parametrize("folder", VERSIONS, ids=lambda p: p.name)


@pytest.mark.parametrize("name", ["float.safetensors", "packed.qmedsam.safetensors"])
def test_models(folder, name, tiny_config):
    source = resolve_model(str(folder / name), None)
    model = source.build()
    total = sum(p.detach().abs().sum().item() for p in model.parameters())
    assert math.isfinite(total)
    assert total > 0
    is_packed = name.startswith("packed")
    assert bool(source.load().packed) == is_packed
    if is_packed:
        assert source.card["effective_bits"] < 16


def test_provenance(folder):
    labels = folder / "image_labels.nii.gz"
    made = read_provenance(labels)
    volume = read_volume(folder / "image.nii.gz", modality=Modality.MR)
    again = replay(made, volume)
    assert again.is_same
    np.testing.assert_array_equal(again.session.labels, read_labels(labels).array)


def test_kept_cases(folder):
    image = folder / "image.nii.gz"
    volume = read_volume(image, modality=Modality.MR)
    kept = CaseFolder(image).kept(image, volume)
    assert kept is not None
    (liver,) = kept.objects
    assert (liver.name, liver.box) == ("liver", Box3D(1, 1, 0, 6, 6, 2))
    assert liver.points == (Point(1, 2.5, 3.5, True),)
    assert kept.labels.sum() == 4


def test_runs(folder):
    runs = read_runs([folder / "run"])
    (result,) = runs.results
    found, missed = result.models[0].scored
    assert found.scores.dsc == 0.9
    assert missed.scores.is_missed
    assert result.class_names == {1: "liver"}
