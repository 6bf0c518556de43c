"""Work that was not saved is offered again, and only then."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from napari_qmedsam.prompts import Box2D, Box3D, KeyBox, Point
from napari_qmedsam.segmentation import autosave
from napari_qmedsam.segmentation.autosave import Autosave, fingerprint
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.volumes.volume import Volume

OBJECTS = {
    1: SegmentObject(1, Box3D(1, 2, 0, 5, 6, 3), "liver"),
    4: SegmentObject(
        4,
        Box3D(1.5, 2, 1, 5, 6, 3),
        "a “lesion”",
        axis=2,
        keys=(KeyBox(1, Box2D(1.5, 2, 5, 6)),),
        refinements=(Point(2, 3.5, 4, False),),
        is_visible=False,
        is_locked=True,
        colour=(255, 90, 95),
    ),
}


@pytest.fixture
def volume():
    rng = np.random.default_rng(0)
    return Volume(rng.integers(0, 99, (6, 8, 9)).astype(np.int16))


@pytest.fixture
def labels():
    labels = np.zeros((6, 8, 9), np.uint16)
    labels[1, 2:5, 3], labels[4, 1, 1] = 1, 4
    return labels


@pytest.fixture
def dead(monkeypatch):
    """Processes that wrote before now are gone."""
    monkeypatch.setattr(autosave, "_is_running", lambda process: False)


def test_a_crash_leaves_everything_behind(volume, labels, tmp_path, dead):
    Autosave(volume, tmp_path).write(OBJECTS, labels)
    found = Autosave(volume, tmp_path).left_behind()
    assert {o.object_id: o for o in found.objects} == OBJECTS
    assert found.labels.dtype == labels.dtype
    assert np.array_equal(found.labels, labels)
    assert abs(found.saved - time.time()) < 60
    found.discard()
    assert Autosave(volume, tmp_path).left_behind() is None


def test_a_process_that_died_is_told_from_one_that_runs(volume, labels, tmp_path):
    mine = Autosave(volume, tmp_path)
    mine.write(OBJECTS, labels)
    assert Autosave(volume, tmp_path).left_behind() is None  # it may be in use
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    assert not autosave._is_running(finished.pid)
    assert autosave._is_running(os.getppid())


def test_a_session_closed_with_unsaved_work_offers_it_again(volume, labels, tmp_path):
    Autosave(volume, tmp_path).write(OBJECTS, labels, is_closed=True)
    assert Autosave(volume, tmp_path).left_behind() is not None


def test_saved_work_is_not_offered(volume, labels, tmp_path, dead):
    session = Autosave(volume, tmp_path)
    session.write(OBJECTS, labels)
    session.discard()
    assert Autosave(volume, tmp_path).left_behind() is None


def test_nothing_at_all_leaves_no_file(volume, labels, tmp_path, dead):
    session = Autosave(volume, tmp_path)
    session.write({}, np.zeros_like(labels))
    session.write({}, np.zeros_like(labels), is_closed=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("objects", [OBJECTS, {}])
def test_masks_are_given_up_for_other_masks_only(volume, labels, tmp_path, objects):
    session, other = Autosave(volume, tmp_path), Autosave(volume, tmp_path)
    session.write(OBJECTS, labels)
    session.write(objects, np.zeros_like(labels))
    session.write(objects, np.zeros_like(labels), is_closed=True)
    recovery = other.left_behind()
    np.testing.assert_array_equal(recovery.labels, labels)
    assert {o.object_id: o for o in recovery.objects} == OBJECTS
    newer = np.roll(labels, 1, 0)
    session.write(objects, newer, is_closed=True)
    np.testing.assert_array_equal(other.left_behind().labels, newer)


def test_what_was_restored_goes_when_its_successor_is_whole(volume, labels, tmp_path):
    Autosave(volume, tmp_path).write(OBJECTS, labels, is_closed=True)
    session = Autosave(volume, tmp_path)
    recovery = session.left_behind()
    session.take_over(recovery)
    assert recovery.path.exists()
    assert session.left_behind() is None
    session.write(OBJECTS, labels)
    assert list(tmp_path.iterdir()) == [session.path]


def test_other_volumes_are_not_offered_it(volume, labels, tmp_path, dead):
    Autosave(volume, tmp_path).write(OBJECTS, labels)
    other = Volume(volume.array + 1)
    assert fingerprint(other) != fingerprint(volume)
    assert fingerprint(Volume(volume.array.copy())) == fingerprint(volume)
    assert Autosave(other, tmp_path).left_behind() is None


def test_the_newest_is_offered_and_damaged_files_are_passed_over(
    volume, labels, tmp_path, dead, caplog
):
    old, new, damaged = (Autosave(volume, tmp_path) for _ in range(3))
    old.write(OBJECTS, labels)
    new.write({1: OBJECTS[1]}, labels)
    damaged.path.write_bytes(b"PK\x03\x04 no archive")
    found = Autosave(volume, tmp_path).left_behind()
    assert found.path == new.path
    assert "Cannot read the autosave" in caplog.text


def test_files_nobody_came_back_for_are_deleted(volume, labels, tmp_path, dead):
    session = Autosave(volume, tmp_path)
    session.write(OBJECTS, labels)
    long_ago = time.time() - 31 * 86400
    os.utime(session.path, (long_ago, long_ago))
    assert Autosave(volume, tmp_path).left_behind() is None
    assert not session.path.exists()


def test_a_failed_write_keeps_the_file_before_it(volume, labels, tmp_path, monkeypatch):
    session = Autosave(volume, tmp_path)
    session.write(OBJECTS, labels)
    kept = session.path.read_bytes()

    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="No space"):
        session.write({}, labels)
    assert session.path.read_bytes() == kept
    assert [p.name for p in tmp_path.iterdir()] == [session.path.name]


def test_the_file_holds_no_pickle(volume, labels, tmp_path):
    session = Autosave(volume, tmp_path)
    session.write(OBJECTS, labels)
    with np.load(session.path, allow_pickle=False) as file:
        header = json.loads(str(file["header"]))
        assert list(file["slices"]) == [1, 4]
    assert header["objects"][0]["name"] == "liver"
