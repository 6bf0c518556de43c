"""Runs: what they keep, how they go on, and what they do once only."""

import json

import numpy as np
import pytest

from napari_qmedsam.cohort.cases import Case, NamedBox
from napari_qmedsam.cohort.executors import InThisProcess, Outcome
from napari_qmedsam.cohort.pairing import pair_folders
from napari_qmedsam.cohort.plan import Labelling, Plan, Scoring
from napari_qmedsam.cohort.results import CaseResult
from napari_qmedsam.cohort.run_folder import RunFolder
from napari_qmedsam.cohort.running import Progress, run_cohort
from napari_qmedsam.cohort.tables import object_cells, remark_cells, score_cells
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.volumes import read_labels


@pytest.fixture
def cases(folders):
    return pair_folders(*folders).cases


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def encoded(models):
    return sum(len(backend.encoded) for backend in models[1].values())


def test_a_slice_is_encoded_once_for_models_with_one_encoder(
    plan, cases, folder, models
):
    results = run_cohort(plan, cases, folder, InThisProcess())
    # Three slices of each case hold something; both models decode them.
    assert encoded(models) == 3 * len(cases)
    assert all(len(backend.decoded) == 9 for backend in models[1].values())
    for result in results:
        assert [m.model for m in result.models] == ["float", "small"]
        assert all(m.encode_ms is not None for m in result.models)
        assert {i.scores.dsc for m in result.models for i in m.scored} == {1.0}


def test_finished_cases_are_not_done_again(plan, cases, folder, models):
    first = run_cohort(plan, cases, folder, InThisProcess())
    before, steps = encoded(models), []
    again = run_cohort(plan, cases, folder, InThisProcess(), steps.append)
    assert again == first
    assert encoded(models) == before
    assert steps == [Progress(3, 3, 0, None)]


def test_a_case_whose_files_changed_is_done_again(plan, cases, folder, models):
    run_cohort(plan, cases, folder, InThisProcess())
    before = encoded(models)
    cases[1].labels.write_bytes(cases[0].labels.read_bytes())
    run_cohort(plan, cases, folder, InThisProcess())
    assert encoded(models) == before + 3


def test_a_driver_that_dies_between_cases_goes_on_with_the_same_table(
    plan, cases, folder, models
):
    class Dying:
        def run(self, work, items):
            yield Outcome(items[0], work(items[0]))
            raise KeyboardInterrupt

    whole = run_cohort(plan, cases, RunFolder(folder.path / "other"), InThisProcess())
    with pytest.raises(KeyboardInterrupt):
        run_cohort(plan, cases, folder, Dying())
    before = encoded(models)
    resumed = run_cohort(plan, cases, folder, InThisProcess())
    assert encoded(models) == before + 3 * 2
    assert score_cells(resumed) == score_cells(whole)


def test_a_half_written_case_counts_as_not_done(plan, cases, folder):
    first = run_cohort(plan, cases, folder, InThisProcess())
    (folder.path / "cases" / "ct_0.json").write_text('{"format": "qmed')
    assert list(folder.finished(cases)) == ["ct_1", "ct_2"]
    again = run_cohort(plan, cases, folder, InThisProcess())
    assert score_cells(again) == score_cells(first)


def test_a_broken_case_is_told_and_the_others_go_on(plan, cases, folder):
    image = cases[1].image.read_bytes()
    cases[1].image.write_bytes(b"broken")
    steps = []
    results = run_cohort(plan, cases, folder, InThisProcess(), steps.append)
    assert [bool(r.error) for r in results] == [False, True, False]
    assert "Cannot read 'ct_1_0000.nii.gz'" in results[1].error
    assert steps[-1].failed == 1
    assert ["ct_1", "failed", results[1].error] in remark_cells(results)
    cases[1].image.write_bytes(image)
    mended = run_cohort(plan, cases, folder, InThisProcess())
    assert not any(r.error for r in mended)


def test_too_little_memory_is_a_broken_case(plan, cases, folder, models):
    def encode(model_input):
        raise MemoryError

    models[1]["float"].encode = encode
    results = run_cohort(plan, cases[:1], folder, InThisProcess())
    assert results[0].error == "it needs more memory than a worker may have."


def test_a_worker_that_gives_nothing_is_told(plan, cases, folder):
    class Killed:
        def run(self, work, items):
            yield from (Outcome(item, None, "3 workers died at it") for item in items)

    results = run_cohort(plan, cases, folder, Killed())
    assert {r.error for r in results} == {"3 workers died at it"}
    assert len(folder.results()) == 3


def test_another_run_in_the_folder_is_refused(plan, cases, folder):
    run_cohort(plan, cases, folder, InThisProcess())
    other = Plan(plan.models, Scoring(tolerance_mm=3.0))
    with pytest.raises(InvalidSettings, match="holds a run with another task"):
        run_cohort(other, cases, folder, InThisProcess())


def test_two_processes_do_not_share_a_folder(plan, cases, folder):
    with folder.opened(plan, cases):
        with pytest.raises(InvalidSettings, match="Another process works in"):
            run_cohort(plan, cases, folder, InThisProcess())


def test_a_folder_of_a_newer_version_is_refused(plan, cases, folder):
    run_cohort(plan, cases, folder, InThisProcess())
    path = folder.path / "run.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(InvalidSettings, match="version 2"):
        folder.content()


def test_infinite_distances_survive_the_file(plan, cases, folder, models):
    models[1]["small"].decode = lambda embedding, boxes: np.full(
        (len(boxes), 32, 32), -4, np.float32
    )
    (result,) = run_cohort(plan, cases[:1], folder, InThisProcess())
    assert all(item.scores.is_missed for item in result.models[1].scored)
    assert CaseResult.from_json(result.to_json()) == result


def test_each_model_gets_a_picture_of_its_worst_object(plan, cases, folder):
    run_cohort(plan, cases[:1], folder, InThisProcess())
    for model in ("float", "small"):
        assert folder.picture("ct_0", model).read_bytes().startswith(b"\x89PNG")


def test_labels_are_written_for_every_model_and_made_again_if_lost(
    cases, folder, models
):
    folder.path.mkdir()
    boxes = (NamedBox(Box3D(6, 4, 1, 18, 16, 3), "liver"),)
    own = [Case(c.name, c.image, boxes=boxes) for c in cases]
    task = Labelling(folder.path / "labels")
    plan = Plan(models[0], task)
    results = run_cohort(plan, own, folder, InThisProcess())
    cells = object_cells(results)
    assert len(cells) == 1 + 2 * 3
    assert cells[1][:5] == ["ct_0", "float", "1", "liver", str(2 * 12 * 12)]
    path = task.folder / cells[1][-1]
    assert np.count_nonzero(read_labels(path).array) == 2 * 12 * 12
    path.unlink()
    run_cohort(plan, own, folder, InThisProcess())
    assert path.exists()


def test_progress_is_told_in_a_line():
    assert Progress(3, 9, 1, 200).text == "3 of 9 cases, 1 failed, 3 min left"
    assert Progress(8, 9, 0, 70).text == "8 of 9 cases, 70 s left"
    assert Progress(9, 9, 0, 0).text == "9 of 9 cases"
