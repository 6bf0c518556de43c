"""Labels scored against labels, by affine and without a model."""

import numpy as np
import pytest

from napari_qmedsam.errors import GridMismatch, InvalidSettings
from napari_qmedsam.evaluation.label_scores import score_labels
from napari_qmedsam.evaluation.rules import Matching
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.session import Session
from napari_qmedsam.volumes import Volume, write_labels
from napari_qmedsam.volumes.segments import Segment

SPACING = (3.0, 1.0, 0.5)


@pytest.fixture
def truth():
    array = np.zeros((6, 20, 24), np.uint8)
    array[1:5, 2:12, 4:16] = 5
    array[2:4, 14:18, 4:10] = 2
    names = (Segment(5, "Liver"), Segment(2, "spleen"))
    return Volume(array, SPACING, segments=names)


def moved(volume, shift=1):
    return volume.with_labels(np.roll(volume.array, shift, axis=1), volume.segments)


def test_scores_are_those_of_the_one_scorer(truth):
    shifted = moved(truth)
    scores = score_labels(shifted, truth)
    for item in scores.pairs:
        number = item.pair.number
        whole = Scores.of(shifted.array == number, truth.array == number, SPACING)
        assert item.scores == whole
    spleen = scores.pairs[0]
    # 4 rows, 3 of them shared: 2 * 3 / 8.
    assert spleen.scores.dsc == pytest.approx(0.75)
    assert spleen.volume == spleen.reference_volume == pytest.approx(48 * 1.5 / 1000)


def test_rows_stored_the_other_way_round_count_where_they_lie(truth):
    affine = truth.affine @ np.diag([1, -1, 1, 1])
    affine[:3, 3] += truth.affine[:3, 1] * (truth.shape[1] - 1)
    flipped = Volume(truth.array[:, ::-1], SPACING, affine)
    scores = score_labels(flipped, truth)
    assert [item.scores.dsc for item in scores.pairs] == [1.0, 1.0]
    assert "resampled by nearest neighbour" in scores.note


def test_labels_elsewhere_are_refused(truth):
    affine = truth.affine.copy()
    affine[0, 3] += 500
    with pytest.raises(GridMismatch, match="lie wholly outside"):
        score_labels(Volume(truth.array, SPACING, affine), truth)


def test_numbers_that_one_side_lacks_are_missed(truth):
    array = truth.array.copy()
    array[array == 2] = 9
    scores = score_labels(Volume(array, SPACING), truth)
    rows = [(p.pair.number, p.pair.reference, p.scores.dsc) for p in scores.pairs]
    assert rows == [(None, 2, 0.0), (5, 5, 1.0), (9, None, 0.0)]
    assert scores.mean.dsc == pytest.approx(1 / 3)
    assert scores.cells[1][:2] == ["–", "spleen (2)"]


def test_overlap_finds_the_label_and_names_it(truth):
    own = np.zeros_like(truth.array)
    own[truth.array == 5] = 1
    scores = score_labels(
        Volume(own, SPACING), truth, matching=Matching.OVERLAP, names={1: "mine"}
    )
    (pair,) = scores.pairs
    assert (pair.pair.number, pair.pair.reference) == (1, 5)
    assert scores.cells[1][:2] == ["mine (1)", "Liver (5)"]
    # What nobody drew is no miss, and is told.
    assert scores.mean.dsc == 1.0
    assert scores.note == "Not scored, nothing lies there: spleen."


def test_overlap_takes_each_reference_once(truth):
    own = np.zeros_like(truth.array)
    own[1:5, 2:12, 4:15] = 1
    own[1:5, 2:12, 15:16] = 2
    scores = score_labels(Volume(own, SPACING), truth, matching=Matching.OVERLAP)
    assert [p.pair.reference for p in scores.pairs] == [5, None]
    assert scores.pairs[1].scores.dsc == 0


def test_names_are_matched_in_any_case(truth):
    array = np.where(truth.array == 5, 1, 0).astype(np.uint8)
    own = Volume(array, SPACING, segments=(Segment(1, "liver"),))
    scores = score_labels(own, truth, matching=Matching.NAME)
    assert [(p.pair.number, p.pair.reference) for p in scores.pairs] == [
        (1, 5),
        (None, 2),
    ]
    twice = truth.with_labels(truth.array, (Segment(2, "a"), Segment(5, "A")))
    with pytest.raises(InvalidSettings, match="both called 'A'"):
        score_labels(own, twice, matching=Matching.NAME)


def test_chosen_classes_alone(truth):
    scores = score_labels(moved(truth), truth, classes=[5])
    assert [p.pair.number for p in scores.pairs] == [5]
    with pytest.raises(InvalidSettings, match="nothing to score"):
        score_labels(truth, truth, classes=[77])


def test_nothing_to_score(truth):
    empty = truth.with_labels(np.zeros_like(truth.array))
    with pytest.raises(InvalidSettings, match="labels or the reference are empty"):
        score_labels(empty, empty)


def test_session_scores_what_is_there(tmp_path, truth):
    image = Volume(np.zeros(truth.shape, np.int16), SPACING, truth.affine)
    session = Session(image)
    session.add_objects_from_labels(moved(truth))
    file = write_labels(truth.array, image, tmp_path / "t.nrrd", names=truth.segments)
    for reference in (file, truth, truth.array):
        scores = session.score(reference)
        assert [p.pair.reference for p in scores.pairs] == [2, 5]
        assert scores.pairs[0].scores.dsc == pytest.approx(0.75)
    assert session.report().objects[1].name == "Liver"
    assert "Liver (5)" in str(session.score(file))


def test_without_spacing_sizes_are_voxels(truth):
    flat = Volume(truth.array, has_spacing=False)
    scores = score_labels(flat, flat)
    assert scores.cells[0][-1] == "reference voxels"
    assert scores.cells[1][-1] == "48"
