"""Small cohorts on disk, and a made-up model in place of real ones."""

from pathlib import Path

import numpy as np
import pytest

from napari_qmedsam.cohort import work
from napari_qmedsam.cohort.plan import Plan, PlannedModel, Scoring
from napari_qmedsam.evaluation.variants import Variant
from napari_qmedsam.volumes import Volume, write_labels, write_volume
from napari_qmedsam.volumes.volume import Modality


@pytest.fixture
def folders(tmp_path, bright_volume) -> tuple[Path, Path]:
    """Three images `ct_N_0000.nii.gz` with labels `ct_N.nii.gz`."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for number in range(3):
        truth = np.zeros((4, 32, 32), np.uint8)
        truth[1:3, 4:16, 6 : 18 + number] = 1
        truth[1:4, 20:30, 18:30] = 2
        volume = bright_volume(truth > 0)
        image = write_volume(volume, images / f"ct_{number}_0000.nii.gz")
        write_labels(truth, volume, labels / f"ct_{number}.nii.gz")
        assert image.exists()
    return images, labels


@pytest.fixture
def models(monkeypatch, new_backend):
    """Two planned models with one encoder, made up; `backends` counts what they do."""
    backends = {name: new_backend(name=name) for name in ("float", "small")}

    def loaded(model: PlannedModel) -> work.WorkerModel:
        return work.WorkerModel(backends[model.variant.name], "one encoder")

    monkeypatch.setattr(work, "loaded", loaded)
    monkeypatch.setattr(
        PlannedModel,
        "description",
        lambda self: {
            "name": self.variant.name,
            "architecture": "counting",
            "is_float": self.variant.name == "float",
            "effective_bits": 32 if self.variant.name == "float" else 4,
            "sha256": self.sha256,
            "method": "made up",
            "bits": "4",
            "file_bytes": 1,
            "backend": "fake",
            "precision": "fp32",
            "card": {"title": "A model for tests"},
        },
    )
    planned = tuple(PlannedModel(Variant(name, name), "0" * 64) for name in backends)
    return planned, backends


@pytest.fixture
def plan(models) -> Plan:
    return Plan(models[0], Scoring())


@pytest.fixture
def phantoms(tmp_path) -> tuple[Path, Path]:
    """Four phantoms that the demo model segments in no time."""
    from napari_qmedsam.phantoms.abdomen import abdomen_case

    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for number in range(4):
        case = abdomen_case(Modality.CT, number, (2, 64, 64), (30.0, 5.4, 5.4))
        volume = Volume(case.volume.array.astype(np.int16), case.volume.spacing_mm)
        write_volume(volume, images / f"ct_{number}.nii.gz")
        write_labels(case.labels.array, volume, labels / f"ct_{number}.nii.gz")
    return images, labels
