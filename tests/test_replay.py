"""What is kept beside labels makes them again, whatever was done in between."""

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_qmedsam.errors import BadCheckpoint, GridMismatch, InvalidSettings
from napari_qmedsam.label_provenance import (
    Provenance,
    UsedModel,
    provenance_path,
    read_provenance,
)
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.replay import record, replay, save_with_provenance
from napari_qmedsam.segmentation.corrections import Corrections
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.windows import Window


@pytest.fixture
def session(bright_volume, backend):
    truth = np.zeros((5, 32, 32), bool)
    truth[1:4, 4:16, 4:16] = True
    truth[2, 20:26, 20:26] = True
    session = Session(bright_volume(truth), SliceSegmenter(backend), Window(0, 255))
    session.add_object(Box3D(3, 3, 1, 17, 17, 4), "square")
    session.add_object(Box3D(19, 19, 2, 27, 27, 3), "small")
    return session


@pytest.fixture(autouse=True)
def found(monkeypatch, backend):
    """Load the made-up model, whatever is asked for."""
    monkeypatch.setattr(
        UsedModel, "segmenter", lambda self, model: SliceSegmenter(backend)
    )


def again(session, made):
    text = made.to_json()
    return replay(Provenance.from_json(text, "labels"), session.volume)


def test_labels_come_out_the_same(session):
    session.segment()
    made = record(session)
    assert len(made.corrections.positions) == 0
    replayed = again(session, made)
    assert replayed.is_same
    np.testing.assert_array_equal(replayed.session.labels, session.labels)
    assert replayed.session.objects == session.objects


def test_corrections_by_hand_come_back(session):
    session.segment()
    session.labels[1, 4:8] = 0  # erased
    session.labels[4, 30, 30] = 2  # painted
    made = record(session)
    assert len(made.corrections.positions) == 4 * 12 + 1
    replayed = again(session, made)
    assert replayed.is_same
    np.testing.assert_array_equal(replayed.session.labels, session.labels)


def test_what_other_runs_and_locks_left_comes_back(session):
    session.segment(object_ids=[1], slice_index=2)  # not the other slices
    session.change_object(2, is_locked=True)
    session.set_box(1, 3, Box2D(3, 3, 10, 10))
    replayed = again(session, record(session))
    assert replayed.is_same
    np.testing.assert_array_equal(replayed.session.labels, session.labels)


def test_labels_without_a_model_are_all_corrections(session):
    session.segmenter = None
    session.labels[2, 3, 4:9] = 1
    made = record(session)
    assert made.model is None
    assert len(made.corrections.positions) == 5
    assert again(session, made).is_same


def test_recording_encodes_nothing_again(session, backend):
    session.segment()
    before = len(backend.encoded)
    record(session)
    assert len(backend.encoded) == before


def test_another_outcome_is_told(session, backend, monkeypatch):
    session.segment()
    made = record(session)
    decode = backend.decode
    monkeypatch.setattr(backend, "decode", lambda *rest: decode(*rest) - 8)
    assert not again(session, made).is_same


def test_another_image_is_refused(session):
    made = record(session)
    moved = replace(session.volume, affine=session.volume.affine + np.eye(4))
    with pytest.raises(GridMismatch, match="is not the image that the labels"):
        replay(made, moved)
    other = session.volume.with_array(session.volume.array[:, ::-1])
    with pytest.raises(GridMismatch, match="is not the image that the labels"):
        replay(made, other)


def test_another_model_is_refused(monkeypatch):
    monkeypatch.undo()
    made = UsedModel("demo", "0" * 64, "openvino", "fp32", "CPU")
    with pytest.raises(BadCheckpoint, match="Name the right file with --model"):
        made.segmenter()


def test_it_is_written_beside_the_labels(session, tmp_path):
    session.segment()
    saved, beside = save_with_provenance(session, tmp_path / "a.nii.gz")
    assert beside == provenance_path(saved) == tmp_path / "a.nii.gz.provenance.json"
    content = json.loads(beside.read_text())
    assert (content["format"], content["version"]) == ("qmedsam-provenance", 1)
    assert content["versions"]["napari-qmedsam"]
    assert read_provenance(saved).objects == tuple(session.objects.values())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c.update(version=2), "version 2; this version"),
        (lambda c: c.update(format="other"), "of the kind other"),
        (lambda c: c.pop("window"), "damaged"),
        (lambda c: c["corrections"].update(voxels=7), "damaged"),
        (lambda c: c["corrections"].update(steps="~~~"), "damaged"),
        (lambda c: c["objects"][0].pop("box"), "damaged"),
    ],
)
def test_what_is_no_such_file_is_refused(session, change, why):
    content = json.loads(record(session).to_json())
    change(content)
    with pytest.raises(InvalidSettings, match=why):
        Provenance.from_json(json.dumps(content), "labels")


def test_labels_without_it_are_refused(tmp_path):
    with pytest.raises(InvalidSettings, match="no readable 'a.nii.provenance.json'"):
        read_provenance(tmp_path / "a.nii")


def test_corrections_beyond_the_volume_are_refused():
    far = Corrections(np.array([100]), np.array([1], np.uint32))
    with pytest.raises(GridMismatch, match="outside this volume"):
        far.apply(np.zeros((2, 3, 4), np.uint16))
