"""Variants side by side, on squares whose scores can be told by hand."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from napari_qmedsam.errors import GridMismatch, InvalidSettings
from napari_qmedsam.evaluation.comparison import Comparison
from napari_qmedsam.evaluation.comparison_table import (
    HEADINGS,
    note_of,
    rows_of,
    table_cells,
)
from napari_qmedsam.evaluation.margins import Margins
from napari_qmedsam.evaluation.matching import (
    boxes_of_labels,
    boxes_on_slice,
    match_objects,
)
from napari_qmedsam.evaluation.metrics import signed_surface_distance
from napari_qmedsam.evaluation.results_table import ComparisonTable
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.evaluation.tables import csv_text, markdown_text, save_table
from napari_qmedsam.evaluation.variants import Variant
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.propagation import Follow
from napari_qmedsam.session import Session

FP32 = Variant("tiny FP32", "tiny", architecture="tiny", file_bytes=4_000_000)
TWO_BITS = Variant(
    "tiny 2-bit rtn",
    "small",
    architecture="tiny",
    method="rtn",
    bit_widths=(2,),
    effective_bits=2.25,
    file_bytes=500_000,
)


@pytest.fixture
def reference():
    """Value 5: 12 by 12 on slices 1 to 3; value 2: 6 by 6 on slice 2."""
    labels = np.zeros((5, 32, 32), np.uint8)
    labels[1:4, 4:16, 4:16] = 5
    labels[2, 20:26, 20:26] = 2
    return labels


@pytest.fixture
def session(bright_volume, reference):
    session = Session(bright_volume(reference > 0))
    session.add_object(Box3D(3, 3, 1, 17, 17, 4), "square")
    session.add_object(Box3D(19, 19, 2, 27, 27, 3), "small")
    return session


def flipped(volume):
    """The same voxels at the same places, stored from the other end of y and x."""
    depth, height, width = volume.shape
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[:2, 3] = width - 1, height - 1
    array = volume.array[:, ::-1, ::-1].copy()
    return replace(volume, array=array, affine=volume.affine @ turn)


@pytest.fixture
def load(new_backend):
    """FP32 finds all; 2 bits lose columns 4 to 9 on slice 3."""

    class Lossy(new_backend):
        def decode(self, image_embedding, boxes):
            logits = super().decode(image_embedding, boxes)
            # Slice 3 is told by its mark in the last row.
            if image_embedding[0, 0, -1, 3] > image_embedding[0, 0, -1, 4]:
                logits[:, :, 4:10] = -4.0
            return logits

    def load(variant):
        return Lossy() if variant.name == TWO_BITS.name else new_backend()

    return load


@pytest.fixture
def compared(session, reference, load):
    comparison = Comparison(
        session.volume,
        reference,
        match_objects(list(session.objects.values()), reference),
        tolerance_mm=1.0,
    )
    steps = list(comparison.run([FP32, TWO_BITS], load))
    return comparison, steps


def test_objects_find_their_value_in_the_reference(session, reference):
    matched = match_objects(list(session.objects.values()), reference)
    assert [(o.object_id, o.reference_id) for o in matched] == [(1, 5), (2, 2)]
    (alone,) = match_objects(list(session.objects.values()), reference, 3)
    assert (alone.object_id, alone.slices) == (1, range(3, 4))


def test_labels_give_tight_boxes(reference):
    small, square = boxes_of_labels(reference, {5: "square"})
    assert (small.name, small.box) == ("label 2", Box3D(20, 20, 2, 26, 26, 3))
    assert (square.name, square.box) == ("square", Box3D(4, 4, 1, 16, 16, 4))


def test_boxes_that_miss_the_reference_are_refused(session, reference):
    session.change_object(2, box=Box3D(26, 2, 0, 31, 8, 1))
    with pytest.raises(InvalidSettings, match="empty in the box of 'small'"):
        match_objects(list(session.objects.values()), reference)
    with pytest.raises(InvalidSettings, match="no box on slice 4"):
        match_objects(list(session.objects.values()), reference, 4)
    with pytest.raises(InvalidSettings, match="no box to compare on"):
        Comparison(session.volume, reference, [])
    with pytest.raises(GridMismatch, match="labels are"):
        Comparison(session.volume, reference[1:], [])


def test_scores_change_and_worst_slice(compared):
    comparison, _ = compared
    whole, lossy = (comparison.results[v.name] for v in (FP32, TWO_BITS))
    assert whole.mean == Scores(1.0, 1.0, 0.0, 0.0)
    # Of the square's 432 voxels 72 are lost; the small one loses none.
    square = 2 * 360 / (360 + 432)
    assert lossy.scores_of(1).dsc == pytest.approx(square)
    assert lossy.scores_of(2) == Scores(1.0, 1.0, 0.0, 0.0)
    assert lossy.scores_of(1).volume_difference == pytest.approx(-72 / 432)
    assert lossy.mean.dsc == pytest.approx((square + 1) / 2)
    assert lossy.mean.volume_difference == pytest.approx(-72 / 432 / 2)
    assert lossy.worst_slice == (0, 3)
    assert lossy.slice_dsc[0, 3] == pytest.approx(2 / 3)
    assert comparison.change(TWO_BITS.name) == pytest.approx((square - 1) / 2)
    assert comparison.change(TWO_BITS.name, 1) == pytest.approx(square - 1)
    assert comparison.change(FP32.name) == 0
    assert lossy.variant.milliseconds_per_slice > 0


def test_scores_are_those_of_the_evaluation(compared, session, reference, backend):
    from napari_qmedsam.evaluation.volumes import Mode, evaluate_volume
    from napari_qmedsam.segmentation.segmenter import SliceSegmenter

    comparison, _ = compared
    report = evaluate_volume(
        SliceSegmenter(backend),
        session.volume,
        reference,
        classes=[5],
        mode=Mode.VOLUME,
        tolerance_mm=1.0,
    )
    (scored,) = report.objects
    assert comparison.results[FP32.name].scores_of(1) == scored.scores


def test_labels_stored_from_the_other_end_give_the_same_scores(
    compared, session, reference, load
):
    comparison, _ = compared
    stored = flipped(session.volume.with_array(reference))
    again = Comparison(session.volume, stored, comparison.objects, tolerance_mm=1.0)
    list(again.run([TWO_BITS], load))
    assert again.results[TWO_BITS.name].scores == (
        comparison.results[TWO_BITS.name].scores
    )


def test_disagreement_is_where_masks_differ(compared):
    comparison, _ = compared
    expected = np.zeros((5, 32, 32), np.uint8)
    expected[3, 4:16, 4:10] = 1
    np.testing.assert_array_equal(comparison.disagreement(), expected)


def test_signed_distance_lies_on_the_surfaces(compared):
    comparison, _ = compared
    distance = comparison.signed_distance(TWO_BITS.name)
    # Column 10 is the variant's edge on slice 3, five inside the reference's.
    assert distance[3, 10, 10] == -5
    assert distance[3, 10, 15] == 0
    assert np.isnan(distance[3, 10, 5])
    assert np.isnan(distance[2, 10, 12])  # inside
    assert np.nanmax(np.abs(comparison.signed_distance(FP32.name))) == 0


def test_signed_distance_of_a_shifted_square():
    reference, shifted = np.zeros((2, 9, 10), bool)
    reference[2:7, 2:7] = True
    shifted[2:7, 4:9] = True  # two columns of 1.5 mm to the right
    distance = signed_surface_distance(shifted, reference, (1.0, 1.5))
    assert distance[4, 8] == pytest.approx(3.0)  # outside
    assert distance[4, 4] == pytest.approx(-2.0)  # 2 rows inside
    assert distance[2, 5] == 0
    assert np.isnan(distance[4, 6])
    assert np.isnan(signed_surface_distance(shifted, shifted & False, (1, 1))).all()


def test_signed_distance_takes_cuts_for_no_surface():
    reference = np.zeros((3, 7, 7), bool)
    reference[:, 2:5, 2:5] = True  # cut above and below
    distance = signed_surface_distance(reference, reference, (1, 1, 1))
    assert np.isnan(distance[:, 3, 3]).all()
    assert (distance[:, 2, 2:5] == 0).all()
    full = np.ones((3, 7, 7), bool)
    assert np.isnan(signed_surface_distance(reference, full, (1, 1, 1))).all()


def test_each_slice_is_a_step_and_stopping_keeps_whole_variants(
    compared, session, reference, load
):
    _, steps = compared
    seen = [(s.variant, s.slice_index) for s in steps if s.slice_index is not None]
    names = [FP32.name, TWO_BITS.name]
    assert seen == [(name, z) for name in names for z in (1, 2, 3)]
    assert (steps[-1].done, steps[-1].total) == (6, 6)
    matched = match_objects(list(session.objects.values()), reference)
    comparison = Comparison(session.volume, reference, matched)
    run = comparison.run([FP32, TWO_BITS], load)
    for step in run:
        if step.variant == TWO_BITS.name and step.slice_index == 2:
            break
    run.close()
    assert list(comparison.results) == [FP32.name]
    assert not comparison.disagreement().any()


def test_following_the_mask_counts_its_visits(session, reference, load):
    matched = match_objects(list(session.objects.values()), reference)
    comparison = Comparison(session.volume, reference, matched, follow=Follow.MASK)
    steps = list(comparison.run([FP32], load))
    assert (steps[-1].done, steps[-1].total) == (3, 3)
    assert comparison.results[FP32.name].mean.dsc == 1.0


def test_one_slice_is_scored_by_contours(session, reference, load):
    matched = match_objects(list(session.objects.values()), reference, 3)
    comparison = Comparison(session.volume, reference, matched)
    list(comparison.run([TWO_BITS], load))
    assert comparison.is_flat
    assert comparison.results[TWO_BITS.name].mean.dsc == pytest.approx(2 / 3)
    assert comparison.baseline(TWO_BITS.name) is None
    assert comparison.change(TWO_BITS.name) is None
    assert np.isfinite(comparison.signed_distance(TWO_BITS.name)[3]).any()
    assert note_of(comparison) == (
        "1 object on slice 3; NSD of 2D contours with a tolerance of 2 mm, spacing "
        "1 x 1 x 1 mm (z, y, x)."
    )


def test_boxes_across_another_axis_are_compared_there(session, reference, load):
    session.remove_object(2)
    # The square seen along y: rows are slices 1 to 3.
    session.add_object(Box3D(3, 0, 6, 17, 5, 9), "coronal", 2, axis=1)
    matched = match_objects(list(session.objects.values()), reference)
    assert [o.reference_id for o in matched] == [5, 5]
    comparison = Comparison(session.volume, reference, matched[1:])
    steps = list(comparison.run([FP32], load))
    assert [s.slice_index for s in steps if s.slice_index is not None] == [6, 7, 8]
    labels = comparison.results[FP32.name].labels
    assert sorted(set(np.nonzero(labels)[1])) == [6, 7, 8]
    assert comparison.results[FP32.name].mean.dsc == 1.0
    assert comparison.results[FP32.name].worst_slice == (1, 6)
    assert table_cells(comparison)[1][-1] == "y 6"
    assert np.nanmax(np.abs(comparison.signed_distance(FP32.name))) == 0


def test_table_holds_means_and_objects(compared, tmp_path):
    comparison, _ = compared
    cells = table_cells(comparison)
    assert tuple(cells[0]) == HEADINGS
    assert [(row[0], row[1]) for row in cells[1:]] == [
        (variant.name, name)
        for name in ("mean", "square", "small")
        for variant in (FP32, TWO_BITS)
    ]
    lossy = dict(zip(HEADINGS, cells[4], strict=True))
    assert lossy["label"] == comparison.objects[0].reference
    assert lossy["label"].startswith("label ")
    assert lossy["DSC %"] == "90.91"
    assert lossy["RVD %"] == "-16.67"
    assert lossy["change against FP32"] == "-9.09"
    assert lossy["effective bits"] == "2.25"
    assert lossy["file MB"] == "0.50"
    assert lossy["worst slice"] == "3"
    assert list(csv.reader(io.StringIO(csv_text(cells)))) == cells
    path = save_table(cells, tmp_path / "t.md", note_of(comparison))
    text = path.read_text(encoding="utf-8")
    assert text.startswith("2 objects on slices 1 to 3; NSD of 3D surfaces")
    assert text.endswith(markdown_text(cells))
    with pytest.raises(InvalidSettings, match="must end in .csv or .md"):
        save_table(cells, tmp_path / "t.xlsx")


def test_rows_without_results_are_blank():
    (row,) = rows_of(None, [TWO_BITS])
    assert row.cells()[7:] == [""] * 7


def test_labels_on_a_slice_have_their_boxes_of_that_slice():
    reference = np.zeros((6, 40, 40), np.uint8)
    reference[2, 5:15, 6:16] = 5  # 100 voxels here, far more elsewhere
    reference[3:5, 0:30, 0:30] = 5
    reference[2, 20:23, 20:33] = 2  # 39
    found = boxes_on_slice(reference, 2, names={5: "liver", 2: "spleen"})
    (liver,) = found.objects
    assert (liver.object_id, liver.name) == (5, "liver")
    assert liver.box == Box3D(6, 5, 2, 16, 15, 3)
    assert found.note == "Left out, under 100 voxels on this slice: spleen."
    with pytest.raises(InvalidSettings, match="No label has 100 voxels on slice 0"):
        boxes_on_slice(reference, 0)
    along = boxes_on_slice(reference.swapaxes(0, 2), 2, axis=2).objects
    assert (along[0].box, along[0].axis) == (Box3D(5, 6, 2, 15, 16, 3), 2)


def test_few_bits_are_judged_by_object(bright_volume, new_backend):
    """Eight squares: what finds all of each is enough, what loses a third is not."""
    truth = np.zeros((8, 32, 32), np.uint8)
    for z in range(8):
        truth[z, 4:16, 4:16] = z + 1
    session = Session(bright_volume(truth > 0))
    for z in range(8):
        session.add_object(Box3D(3, 3, z, 17, 17, z + 1), f"square {z}")

    class Lossy(new_backend):
        def decode(self, image_embedding, boxes):
            logits = super().decode(image_embedding, boxes)
            logits[:, :, 4:8] = -9.0
            return logits

    same = replace(TWO_BITS, name="tiny 8-bit")
    backends = {FP32.name: new_backend(), same.name: new_backend()}
    objects = match_objects(list(session.objects.values()), truth)
    comparison = Comparison(session.volume, truth, objects)
    list(
        comparison.run(
            [FP32, same, TWO_BITS], lambda v: backends.get(v.name) or Lossy()
        )
    )
    answers = {name: v.answer.value for name, v in comparison.verdicts.items()}
    assert answers == {same.name: "enough", TWO_BITS.name: "not enough"}
    assert note_of(comparison).endswith(
        "Few bits, by object of this scan alone: tiny 8-bit: enough, tiny 2-bit rtn: "
        "not enough."
    )
    (_, row, _) = rows_of(comparison, [FP32, same, TWO_BITS])
    assert "on these 8 objects" in row.verdict
    assert row.verdict.endswith("it says nothing of other patients.")
    table = ComparisonTable(comparison)
    verdict = table.verdict(TWO_BITS.name, Margins(60, 60))
    assert verdict is not None
    assert verdict.answer.value == "enough"
    assert table.verdict(FP32.name) is None
