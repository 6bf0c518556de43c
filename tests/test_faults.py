"""Disks that are full, folders that vanish, caches that are damaged, two at once.

``scripts/faults.py`` kills what writes, as often as it is asked to.
"""

import hashlib
import os
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from napari_qmedsam import Session, read_labels
from napari_qmedsam.checkpoints import download
from napari_qmedsam.checkpoints.catalogue import CheckpointEntry
from napari_qmedsam.checkpoints.download import fetch, weights_path
from napari_qmedsam.errors import DownloadFailed, QMedSAMError, UnwritableLabels
from napari_qmedsam.evaluation.tables import write_text
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.runtime.cache import make_once
from napari_qmedsam.segmentation.autosave import Autosave
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.volumes.volume import Volume

SHAPE = (8, 64, 64)


@pytest.fixture
def session():
    made = Session(Volume(np.zeros(SHAPE, np.uint8)))
    made.add_object(Box3D(1, 1, 0, 9, 9, 3))
    made.labels[1, 1:9, 1:9] = 1
    return made


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 64 KB, which is full after `old.nii` and the first autosave."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.name == "nt" or os.geteuid() != 0 or subprocess.run(mount).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    file = os.open(place / "filler", os.O_CREAT | os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="space"):
            write_for_ever(file)
    finally:
        os.close(file)


def write_for_ever(file: int) -> None:
    while True:
        os.write(file, bytes(4096))


def test_a_full_disk_loses_nothing(full_disk, session):
    session.save_labels(full_disk / "old.nii.gz")
    saver = Autosave(session.volume, full_disk / "state")
    saver.write(session.objects, session.labels, is_closed=True)
    before = session.labels.copy()
    fill(full_disk)
    names = sorted(p.name for p in full_disk.rglob("*"))
    rng = np.random.default_rng(0)
    session.labels[...] = rng.integers(1, 60000, SHAPE)
    with pytest.raises(UnwritableLabels, match="No space left"):
        session.save_labels(full_disk / "old.nii.gz")
    with pytest.raises(OSError, match="No space left"):
        saver.write(session.objects, session.labels)
    with pytest.raises((OSError, QMedSAMError), match="No space left"):
        write_text(full_disk / "table.csv", "x" * 100_000)
    assert sorted(p.name for p in full_disk.rglob("*")) == names
    np.testing.assert_array_equal(read_labels(full_disk / "old.nii.gz").array, before)
    left = Autosave(session.volume, full_disk / "state").left_behind()
    assert left is not None
    np.testing.assert_array_equal(left.labels, before)


def test_embeddings_that_a_full_disk_does_not_take_are_made_again(full_disk):
    fill(full_disk)
    store = EmbeddingStore(memory_limit=1, folder=full_disk / "embeddings")
    store.put("a", np.ones((64, 64), np.float32))
    store.put("b", np.ones((64, 64), np.float32))
    assert store.get("a") is None
    assert store.get("b") is not None


def test_folders_that_vanish_are_said_or_made_anew(tmp_path, session):
    place = tmp_path / "place"
    saver = Autosave(session.volume, place / "state")
    saver.write(session.objects, session.labels, is_closed=True)
    saver.path.unlink()
    (place / "state").rmdir()
    place.rmdir()
    with pytest.raises(UnwritableLabels, match="no folder"):
        session.save_labels(place / "labels.nii.gz")
    saver.write(session.objects, session.labels, is_closed=True)
    assert Autosave(session.volume, place / "state").left_behind() is not None
    store = EmbeddingStore(memory_limit=1, folder=place / "embeddings")
    for key in "abc":
        store.put(key, np.ones(99, np.float32))
    for path in (place / "embeddings").iterdir():
        path.unlink()
    (place / "embeddings").rmdir()
    assert store.get("a") is None
    store.put("d", np.ones(99, np.float32))
    np.testing.assert_array_equal(store.get("c"), np.ones(99))


# Caches -------------------------------------------------------------------


def write_graphs(folder: Path) -> None:
    (folder / "decoder.xml").write_text("<graph/>")
    (folder / "decoder.bin").write_bytes(bytes(range(256)))


@pytest.mark.parametrize("name", ["decoder.xml", "decoder.bin", "checksums.json"])
@pytest.mark.parametrize("harm", ["gone", "cut", "one bit"])
def test_a_damaged_cache_is_made_again(tmp_path, name, harm, caplog):
    folder = make_once(tmp_path / "cache" / "key", "decoder.bin", write_graphs)
    path = folder / name
    data = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[5] ^= 1
        path.write_bytes(data)
    make_once(folder, "decoder.bin", write_graphs)
    assert "not whole" in caplog.text
    assert (folder / "decoder.xml").read_text() == "<graph/>"
    assert (folder / "decoder.bin").read_bytes() == bytes(range(256))
    assert [p.name for p in folder.parent.iterdir()] == ["key"]

    def never(work: Path) -> None:
        raise AssertionError("a whole folder was made again")

    make_once(folder, "decoder.bin", never)


class Slowly:
    """A way of getting weights that two of would spoil for each other."""

    def __init__(self, content: bytes) -> None:
        self.content, self.calls = content, 0

    def supply(self, part: Path, progress: object = None) -> None:
        self.calls += 1
        for start in range(0, len(self.content), 100):
            with part.open("ab") as file:
                file.write(self.content[start : start + 100])


def test_two_that_fetch_at_once_get_one_whole_file(tmp_path, monkeypatch):
    content = os.urandom(20_000)
    checksum, urls = hashlib.sha256(content).hexdigest(), ("http://nowhere",)
    entry = CheckpointEntry(
        "made-up", "Made-up", "demo", "made-up.pth", urls, "", "none", len(content),
        checksum, "",
    )  # fmt: skip
    way = Slowly(content)
    monkeypatch.setenv("QMEDSAM_HOME", str(tmp_path))
    monkeypatch.setattr(download, "suppliers", lambda entry: [way])
    failures: list[BaseException] = []

    def get() -> None:
        try:
            fetch(entry)
        except DownloadFailed as error:
            failures.append(error)

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert way.calls == 1
    assert weights_path(entry).read_bytes() == content
