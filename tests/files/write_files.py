"""Write a file of each kind in the version that is written now.

    PYTHONPATH=scripts python tests/files/write_files.py tests/files/v2

Run it once when a version is raised, into a folder of its own, and keep the older ones:
`test_files.py` reads them all.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from tiny_model import TINY

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.cohort.cases import Case
from napari_qmedsam.cohort.plan import Plan, PlannedModel, Scoring
from napari_qmedsam.cohort.results import CaseResult, ModelResult
from napari_qmedsam.cohort.run_folder import RunFolder
from napari_qmedsam.cohort.work import Finished
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.evaluation.report import ScoredObject
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.evaluation.variants import variant_of
from napari_qmedsam.models import build_model
from napari_qmedsam.models.configuration import CONFIGS
from napari_qmedsam.prompts import Box3D, Point
from napari_qmedsam.quantization.job import QuantizationJob
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.replay import save_with_provenance
from napari_qmedsam.segmentation.case_folder import CaseFolder
from napari_qmedsam.session import Session
from napari_qmedsam.volumes import read_volume, write_volume
from napari_qmedsam.volumes.volume import Volume


def write_all(folder: Path) -> None:
    """Write them."""
    folder.mkdir(parents=True, exist_ok=True)
    CONFIGS["tiny"] = TINY
    torch.manual_seed(0)
    save_model(build_model(TINY), folder / "float.safetensors")
    job = QuantizationJob(
        resolve_model(str(folder / "float.safetensors"), None),
        QuantizationSettings.of(method="rtn", bit_width=4),
        CalibrationPlan(slices=1),
    )
    job.run(folder / "packed.qmedsam.safetensors")
    write_labelled(folder)
    write_run(folder / "run")


def write_labelled(folder: Path) -> None:
    """Write an image, its labels with their provenance, and a kept case."""
    image = folder / "image.nii.gz"
    array = np.arange(3 * 8 * 9, dtype=np.int16).reshape(3, 8, 9)
    write_volume(Volume(array), image)
    session = Session(read_volume(image))
    session.add_object(
        Box3D(1, 1, 0, 6, 6, 2), "liver", points=(Point(1, 2.5, 3.5, True),)
    )
    session.labels[1, 2:4, 3:5] = 1
    save_with_provenance(session, folder / "image_labels.nii.gz")
    objects = list(session.objects.values())
    kept = CaseFolder(image)
    kept.keep(image, session.volume, objects, session.labels, session.segments)


def write_run(folder: Path) -> None:
    """Write the folder of a run with one case and one missed object."""
    weights = str(folder.parent / "float.safetensors")
    plan = Plan((PlannedModel.of(variant_of(weights, "float")),), Scoring())
    case = Case("a", Path("a.nii.gz"), Path("a_labels.nii.gz"), patient="P1")
    with RunFolder(folder).opened(plan, [case]):
        pass
    (folder / ".lock").unlink()
    scored = (
        ScoredObject(1, 0, Scores(0.9, 0.8, 1.5, -0.1)),
        ScoredObject(2, 0, Scores(0.0, 0.0, float("inf"), -1.0)),
    )
    result = CaseResult(
        "a", "P1", "CT", {"image": "0" * 64},
        (ModelResult("float", scored, encode_ms=2.0, decode_ms=1.0),), {1: "liver"},
    )  # fmt: skip
    RunFolder(folder).keep(Finished(result, {}))


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
