import json
from dataclasses import replace

import numpy as np
import pytest

from napari_qmedsam.errors import GridMismatch, InvalidSettings
from napari_qmedsam.evaluation.contact_sheet import SheetRow, write_contact_sheet
from napari_qmedsam.evaluation.metrics import dice
from napari_qmedsam.evaluation.volumes import Mode, evaluate_volume
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.segmentation.propagation import Follow
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.session import Session

PERFECT = {"dsc": 100.0, "nsd": 100.0, "hd95_mm": 0.0, "volume_difference": 0.0}


@pytest.fixture
def truth():
    """Class 3: 12 by 12 on slices 0 to 2; class 7: too small; class 9 on slice 3."""
    labels = np.zeros((5, 32, 32), np.uint8)
    labels[:3, 4:16, 4:16] = 3
    labels[1, 20:25, 20:25] = 7
    labels[3, 10:22, 8:20] = 9
    return labels


def test_perfect_masks_score_one_hundred(backend, bright_volume, truth):
    volume = bright_volume(truth > 0)
    report = evaluate_volume(SliceSegmenter(backend), volume, truth)
    content = report.to_dict()
    assert content["mean"] == PERFECT
    assert {c: row["count"] for c, row in content["classes"].items()} == {
        "3": 3,
        "9": 1,
    }
    assert content["count"] == 4
    assert len(backend.encoded) == 4


def test_half_a_mask_scores_two_thirds(backend, bright_volume, truth):
    seen = truth.copy()
    seen[:, :, 10:] = 0  # the model finds the left half of class 3 only
    volume = bright_volume(seen > 0)
    report = evaluate_volume(SliceSegmenter(backend), volume, truth, classes=[3])
    assert report.to_dict()["mean"]["dsc"] == pytest.approx(100 * 2 / 3, abs=1e-3)


def test_tolerance_is_in_millimetres_of_the_slice(backend, bright_volume, truth):
    seen = truth.copy()
    seen[:, :, 15] = 0  # one column of class 3, 1 mm wide, is missed
    volume = bright_volume(seen > 0)

    def nsd(tolerance):
        segmenter = SliceSegmenter(backend)
        report = evaluate_volume(
            segmenter, volume, truth, classes=[3], tolerance_mm=tolerance
        )
        return report.to_dict()["mean"]["nsd"]

    assert nsd(1.0) == 100
    # Of each contour's four sides the one opposite agrees whole, and two agree
    # but for an end: between two thirds and all, and no more at 0.9 mm than at 0.
    assert 66 < nsd(0.0) == nsd(0.9) < 90


@pytest.mark.parametrize(("missing", "count"), [(0, 1), (1, 0)])
def test_cuts_of_a_hundred_voxels_are_scored_and_none_smaller(
    backend, bright_volume, missing, count
):
    labels = np.zeros((2, 32, 32), np.uint8)
    labels[0, 4:14, 4:14] = 1
    labels[0, 4, 4 : 4 + missing] = 0
    labels[1, 4:16, 4:16] = 1
    report = evaluate_volume(SliceSegmenter(backend), bright_volume(labels > 0), labels)
    assert [s.slice_index for s in report.objects] == [0] * count + [1]


def test_json_has_the_documented_form(backend, bright_volume, truth):
    volume = bright_volume(truth > 0)
    report = evaluate_volume(SliceSegmenter(backend), volume, truth)
    content = json.loads(json.dumps(report.to_dict()))
    assert set(content) == {
        "mean", "classes", "count", "missed", "seconds", "model", "backend",
        "precision",
    }  # fmt: skip
    assert set(content["classes"]["3"]) == {*PERFECT, "count", "missed"}
    assert content["seconds"] >= 0
    assert [content[key] for key in ("model", "backend", "precision")] == [
        "counting", "fake", "fp32",
    ]  # fmt: skip


@pytest.mark.parametrize("follow", Follow)
def test_volume_mode_scores_each_class_once(backend, bright_volume, truth, follow):
    volume = bright_volume(truth > 0)
    report = evaluate_volume(
        SliceSegmenter(backend),
        volume,
        truth,
        mode=Mode.VOLUME,
        follow=follow,
    )
    assert [(s.class_id, s.slice_index, s.scores.dsc) for s in report.objects] == [
        (3, None, 1.0),
        (9, None, 1.0),
    ]
    assert report.encoded_slices == 4


def test_volumes_are_segmented_as_a_session_does_it(backend, bright_volume):
    truth = np.zeros((5, 32, 32), np.uint8)
    truth[:, 4:16, 4:16] = 3
    seen = truth > 0
    seen[3] = False  # following the mask ends here, and does not reach slice 4
    volume = bright_volume(seen)
    report = evaluate_volume(
        SliceSegmenter(backend),
        volume,
        truth,
        mode=Mode.VOLUME,
        follow=Follow.MASK,
    )
    session = Session(volume, SliceSegmenter(backend))
    session.add_object(Box3D(4, 4, 0, 16, 16, 5))
    for _ in session.segment(follow=Follow.MASK):
        pass
    assert not session.labels[4].any()
    (scored,) = report.objects
    assert scored.scores.dsc == dice(session.labels, truth) == 2 * 3 / (3 + 5)


def test_what_was_missed_is_counted_and_has_no_distance(backend, bright_volume, truth):
    volume = bright_volume(truth == 3)  # class 9 is not to be seen
    content = evaluate_volume(SliceSegmenter(backend), volume, truth).to_dict()
    assert content["classes"]["9"] == {
        "dsc": 0.0,
        "nsd": 0.0,
        "hd95_mm": None,
        "volume_difference": -100.0,
        "count": 1,
        "missed": 1,
    }
    assert (content["count"], content["missed"]) == (4, 1)
    assert content["mean"]["dsc"] == 75
    assert content["mean"]["hd95_mm"] == 0  # of the three that were found


def test_jitter_moves_boxes_the_same_way_each_time(backend, bright_volume, truth):
    volume = bright_volume(truth > 0)

    def scores(seed):
        segmenter = SliceSegmenter(backend)
        report = evaluate_volume(segmenter, volume, truth, box_jitter=4, seed=seed)
        return [s.scores.dsc for s in report.objects]

    assert scores(1) == scores(1)
    assert min(scores(1)) < 1
    assert scores(1) != scores(2)


def test_labels_on_another_grid_are_refused(backend, bright_volume, truth):
    volume = bright_volume(truth > 0)
    with pytest.raises(GridMismatch, match="labels are"):
        evaluate_volume(SliceSegmenter(backend), volume, truth[:2])


@pytest.mark.parametrize("mode", Mode)
def test_labels_stored_from_the_other_end_give_the_same_scores(
    backend, bright_volume, truth, mode
):
    seen = truth.copy()
    seen[:, :, 10:] = 0  # what is found is not symmetric, nor are the labels
    volume = bright_volume(seen > 0)
    affine = volume.affine @ np.array(
        [[-1, 0, 0, 31], [0, 1, 0, 0], [0, 0, -1, 4], [0, 0, 0, 1]]
    )
    stored = replace(volume, array=truth[::-1, :, ::-1].copy(), affine=affine)

    def objects(labels):
        segmenter = SliceSegmenter(backend)
        return evaluate_volume(segmenter, volume, labels, mode=mode).objects

    assert objects(stored) == objects(truth)
    # Taken as they are stored they would give other scores.
    assert objects(stored.array) != objects(truth)


def test_labels_that_lie_elsewhere_are_refused(backend, bright_volume, truth):
    volume = bright_volume(truth > 0)
    affine = volume.affine.copy()
    affine[0, 3] += 100
    away = replace(volume, array=truth, affine=affine)
    with pytest.raises(GridMismatch, match="wholly outside the image"):
        evaluate_volume(SliceSegmenter(backend), volume, away)


def test_an_absent_class_is_refused_with_those_there_are(backend, bright_volume, truth):
    volume = bright_volume(truth > 0)
    with pytest.raises(InvalidSettings, match="no class 5; they hold 3, 7, 9"):
        evaluate_volume(SliceSegmenter(backend), volume, truth, classes=[3, 5])


def test_classes_that_are_too_small_are_refused(backend, bright_volume, truth):
    volume = bright_volume(truth > 0)
    with pytest.raises(InvalidSettings, match="at least 100 voxels"):
        evaluate_volume(SliceSegmenter(backend), volume, truth, classes=[7])


def test_empty_labels_are_refused(backend, bright_volume, truth):
    volume = bright_volume(truth > 0)
    with pytest.raises(InvalidSettings, match="labels are empty"):
        evaluate_volume(SliceSegmenter(backend), volume, np.zeros_like(truth))


def test_contact_sheet_shows_box_and_both_outlines(tmp_path):
    import cv2

    image = np.full((40, 40), 60, np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    row = SheetRow("square", image, Box2D(10, 10, 30, 30), mask, np.roll(mask, 3, 1))
    path = write_contact_sheet([row] * 3, tmp_path / "new" / "sheet.png", "Sheet")
    picture = cv2.imread(str(path))[..., ::-1].astype(int)
    for colour in ((255, 225, 77), (255, 140, 26), (53, 201, 255)):
        assert (np.abs(picture - colour).sum(axis=2) < 30).any()
