"""The tables of a cohort: a row for each object; no times, so that runs compare."""

from collections.abc import Sequence

from napari_qmedsam.cohort.results import CaseResult
from napari_qmedsam.evaluation.scores import SCORE_NAMES
from napari_qmedsam.evaluation.tables import Cells


def score_cells(results: Sequence[CaseResult]) -> Cells:
    """Return the scores of every object of every case under every model."""
    head = ["case", "patient", "modality", "model", "class", "name", "slice"]
    rows = [[*head, *SCORE_NAMES]]
    for result in results:
        for model in result.models:
            for item in model.scored:
                rows.append(
                    [
                        result.case,
                        result.patient,
                        result.modality,
                        model.model,
                        str(item.class_id),
                        result.class_names.get(item.class_id, ""),
                        "" if item.slice_index is None else str(item.slice_index),
                        *item.scores.cells("{:.4f}"),
                    ]
                )
    return rows


def object_cells(results: Sequence[CaseResult]) -> Cells:
    """Return the size of every object that was segmented, and its file."""
    rows = [["case", "model", "object", "name", "voxels", "volume_ml", "labels"]]
    for result in results:
        for model in result.models:
            for item in model.labelled:
                ml = "" if item.volume_ml is None else f"{item.volume_ml:.3f}"
                numbers = [str(item.object_id), item.name, str(item.voxels), ml]
                rows.append([result.case, model.model, *numbers, model.labels])
    return rows


def remark_cells(results: Sequence[CaseResult]) -> Cells:
    """Return why cases have no result, and what readers had to say of the others."""
    rows = [["case", "kind", "remark"]]
    for result in results:
        rows += [[result.case, "failed", result.error]] if result.error else []
        rows += [[result.case, "note", notice] for notice in result.notices]
    return rows
