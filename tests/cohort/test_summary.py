"""Means by patient, pairs, and which model is compared with which."""

import math

import pytest

from napari_qmedsam.cohort.results import CaseResult, ModelResult
from napari_qmedsam.cohort.summary import CohortScores, Group
from napari_qmedsam.cohort.verdicts import judge_run, milliseconds, references_of
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.report import ScoredObject
from napari_qmedsam.evaluation.scores import Scores


def scores(dsc):
    return Scores(dsc, dsc, 1.0 if dsc else math.inf, 0.0)


def case(name, by_model, patient="", modality="CT", ms=None):
    """Results from classes and their DSC: {"a": [(1, 0.5), (2, 0.7)]}."""
    models = tuple(
        ModelResult(
            model,
            tuple(ScoredObject(c, z, scores(d)) for z, (c, d) in enumerate(objects)),
            encode_ms=ms,
            decode_ms=ms,
        )
        for model, objects in by_model.items()
    )
    return CaseResult(name, patient or name, modality, {}, models, {1: "liver"})


def test_classes_then_cases_count_alike_for_a_patient():
    found = CohortScores(
        [
            # Three slices of class 1 do not outweigh one of class 2.
            case("a", {"m": [(1, 0.9), (1, 0.9), (1, 0.9), (2, 0.5)]}, "P1"),
            case("b", {"m": [(1, 0.3)]}, "P1"),
            case("c", {"m": [(1, 0.8)]}, "P2"),
        ]
    )
    patients = found.by_patient("m")
    assert patients["P1"].dsc == pytest.approx((0.7 + 0.3) / 2)
    assert patients["P2"].dsc == pytest.approx(0.8)
    assert found.intervals("m")["dsc"].mean == pytest.approx(65.0)
    assert found.by_patient("m", Group(2)).keys() == {"P1"}


def test_missed_objects_are_counted_and_have_no_distance():
    found = CohortScores([case("a", {"m": [(1, 0.0), (1, 1.0)]})])
    assert found.missed("m") == (1, 2)
    assert found.by_patient("m")["a"].hd95_mm == 1.0


def test_groups_are_all_then_modalities_then_their_classes():
    found = CohortScores(
        [case("a", {"m": [(1, 0.9)]}), case("b", {"m": [(3, 0.9)]}, modality="MR")]
    )
    cells = found.cells(2.0, found.groups())
    assert [row[:2] for row in cells[1:]] == [
        ["all", "all"],
        ["CT", "all"],
        ["CT", "1 liver"],
        ["MR", "all"],
        ["MR", "3"],
    ]


def test_pairs_are_of_the_same_patients_in_points():
    found = CohortScores(
        [
            case("a", {"f": [(1, 0.9)], "v": [(1, 0.8)]}),
            case("b", {"f": [(1, 0.5)], "v": [(1, 0.6)]}),
            case("c", {"f": [(1, 0.5)]}),
        ]
    )
    (pair,) = found.paired({"v": "f"})
    assert pair.dsc == pytest.approx((-10.0, 10.0))


def describe(name, architecture="lite", is_float=False, bits=4.0):
    return {
        "name": name,
        "architecture": architecture,
        "is_float": is_float,
        "effective_bits": bits,
    }


def test_each_is_compared_with_the_first_float_model_of_its_kind():
    models = [
        describe("lite", is_float=True),
        describe("lite 4"),
        describe("demo 4", "demo"),
        describe("demo", "demo", is_float=True),
        describe("vit 4", "vit"),
    ]
    assert references_of(models) == {"lite 4": "lite", "demo 4": "demo"}
    assert references_of(models, "demo").keys() == {"lite", "lite 4", "demo 4", "vit 4"}
    with pytest.raises(InvalidSettings, match="No model is called 'x'"):
        references_of(models, "x")


def test_the_smallest_and_the_fastest_are_named():
    models = [describe("f", is_float=True), describe("8", bits=8.1), describe("2")]
    cases = [
        case(f"c{n}", {"f": [(1, 0.9)], "8": [(1, 0.9)], "2": [(1, 0.5)]}, ms=3.0)
        for n in range(6)
    ]
    said = judge_run(models, cases)
    assert [v.answer.value for v in said.verdicts] == ["enough", "not enough"]
    assert said.fewest_bits is said.fastest is said.verdicts[0]
    assert milliseconds(cases)["8"] == 6.0


def test_without_a_float_model_there_is_no_verdict():
    assert "no float model" in judge_run([describe("a"), describe("b")], []).notice
    assert judge_run([describe("a")], []).notice == ""
