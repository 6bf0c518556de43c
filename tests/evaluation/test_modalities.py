import numpy as np
import pytest

from napari_qmedsam.datasets.dataset import open_data
from napari_qmedsam.errors import UnusableData
from napari_qmedsam.evaluation.modalities import (
    CaseScore,
    ModalityReport,
    case_table,
    evaluate_modalities,
    modality_table,
)
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.segmentation.segmenter import SliceSegmenter


def report(label, *scores):
    return ModalityReport(label, "torch", "fp32", scores)


def case(modality, name, dsc, nsd, seconds, objects):
    return CaseScore(modality, name, Scores(dsc, nsd, 1.5, -0.1), seconds, objects)


ONE = report(
    "Stage 1",
    case("CT", "a", 0.9, 0.8, 2.0, 3),
    case("CT", "b", 0.7, 0.6, 4.0, 1),
    case("MR", "c", 0.5, 0.4, 1.0, 9),
)
TWO = report(
    "Float",
    case("CT", "a", 0.91, 0.81, 2.5, 3),
    case("CT", "b", 0.71, 0.61, 4.5, 1),
    case("MR", "c", 0.51, 0.41, 1.5, 9),
)


def test_the_table_has_modalities_down_and_models_across():
    assert modality_table([ONE, TWO], run_time=False) == [
        [
            "modality",
            "Stage 1: DSC %",
            "Stage 1: NSD %",
            "Stage 1: HD95 mm",
            "Stage 1: RVD %",
            "Float: DSC %",
            "Float: NSD %",
            "Float: HD95 mm",
            "Float: RVD %",
        ],
        ["CT", "80.00", "70.00", "1.50", "-10.00", "81.00", "71.00", "1.50", "-10.00"],
        ["MR", "50.00", "40.00", "1.50", "-10.00", "51.00", "41.00", "1.50", "-10.00"],
        [
            "Average",
            *("65.00", "55.00", "1.50", "-10.00"),
            *("66.00", "56.00", "1.50", "-10.00"),
        ],
    ]


def test_run_time_is_a_column_of_seconds_for_a_case():
    rows = modality_table([ONE])
    assert rows[0][-1] == "Stage 1: seconds a case"
    assert [row[-1] for row in rows[1:]] == ["3.00", "1.00", "2.00"]


def test_every_case_has_a_row():
    rows = case_table([ONE, TWO])
    assert len(rows) == 7
    assert rows[0][4:] == ["dsc", "nsd", "hd95_mm", "volume_difference", "seconds"]
    assert rows[3] == [
        *("Stage 1", "MR", "c", "9"),
        *("50.0000", "40.0000", "1.5000", "-10.0000", "1.0000"),
    ]


def write_case(path, first, side=32, blur=0):
    """Write a file whose model answer is the label, but for `blur` columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    gts = np.zeros((2, side, side), np.uint8)
    gts[:, 4:24, first : first + 20] = 1
    imgs = np.where(gts > 0, 200, 20).astype(np.uint8)
    imgs[:, :, first : first + blur] = 20
    imgs[1, -1] = 60
    np.savez(path, imgs=imgs, gts=gts)


def test_cases_are_scored_by_modality(tmp_path, backend):
    write_case(tmp_path / "CT" / "a.npz", 2)
    write_case(tmp_path / "MR" / "b.npz", 4, blur=5)
    np.savez(
        tmp_path / "MR" / "small.npz",
        imgs=np.eye(32, dtype=np.uint8),
        gts=np.eye(32, dtype=np.uint8),
    )
    seen = []
    found = evaluate_modalities(
        SliceSegmenter(backend),
        open_data(str(tmp_path)),
        label="made up",
        progress=lambda *now: seen.append(now),
    )
    assert found.modalities == ("CT", "MR")
    assert found.skipped == ("small.npz",)
    assert seen[-1] == (3, 3)
    assert found.of("CT").scores.dsc == 1
    # 15 of 20 columns are found: 2 * 15 / 35.
    assert found.of("MR").scores.dsc == pytest.approx(30 / 35)
    assert found.average().scores.dsc == pytest.approx(0.5 + 0.5 * 30 / 35)
    assert [score.objects for score in found.scores] == [2, 2]
    assert all(score.seconds > 0 for score in found.scores)


def test_a_folder_with_nothing_to_score_is_refused(tmp_path, backend):
    np.savez(
        tmp_path / "small.npz",
        imgs=np.eye(32, dtype=np.uint8),
        gts=np.eye(32, dtype=np.uint8),
    )
    with pytest.raises(UnusableData, match="None of the 1 cases"):
        evaluate_modalities(SliceSegmenter(backend), open_data(str(tmp_path)))
