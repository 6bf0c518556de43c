"""What the store of embeddings keeps, spills and forgets."""

import logging

import numpy as np
import pytest

from napari_qmedsam.segmentation.embeddings import EmbeddingStore

KILOBYTE = 1024


def embedding(value: float) -> np.ndarray:
    """One kilobyte of a value."""
    return np.full((1, 1, 16, 16), value, np.float32)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def files(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_the_least_recently_used_goes_first():
    store = EmbeddingStore(2 * KILOBYTE)
    store.put("a", embedding(1))
    store.put("b", embedding(2))
    assert store.get("a") is not None  # used again
    store.put("c", embedding(3))
    assert ["a" in store, "b" in store, "c" in store] == [True, False, True]
    assert store.get("b") is None
    assert store.bytes_in_memory == 2 * KILOBYTE


def test_one_embedding_is_kept_however_large():
    store = EmbeddingStore(1)
    store.put("a", embedding(1))
    assert store.get("a") is not None
    store.put("b", embedding(2))
    assert "a" not in store
    assert "b" in store


def test_putting_again_replaces():
    store = EmbeddingStore()
    store.put("a", embedding(1))
    store.put("a", embedding(2))
    assert store.get("a")[0, 0, 0, 0] == 2
    assert store.bytes_in_memory == KILOBYTE


def test_nothing_is_written_unless_asked_for(temporary):
    store = EmbeddingStore(1)
    for name in "abc":
        store.put(name, embedding(1))
    assert list(temporary.iterdir()) == []


def test_what_is_on_hold_survives_until_it_is_released(temporary):
    store = EmbeddingStore(1)
    store.put("a", embedding(1))
    store.hold("a")
    store.put("b", embedding(2))
    assert len(files(temporary)) == 1
    assert np.array_equal(store.get("a"), embedding(1))
    store.put("b", embedding(2))
    store.release("a")
    assert files(temporary) == []
    assert store.get("a") is None


def test_two_holds_need_two_releases(temporary):
    store = EmbeddingStore(1)
    store.put("a", embedding(1))
    store.hold("a")
    store.hold("a")
    store.put("b", embedding(2))
    store.release("a")
    assert store.get("a") is not None
    store.put("b", embedding(2))
    store.release("a")
    assert store.get("a") is None


def test_releasing_what_was_never_held_does_nothing():
    store = EmbeddingStore()
    store.put("a", embedding(1))
    store.release("a")
    store.release("nothing")
    assert store.get("a") is not None


@pytest.mark.parametrize("end", ["clear", "delete"])
def test_no_temporary_files_stay_behind(temporary, end):
    store = EmbeddingStore(1)
    for name in "abc":
        store.put(name, embedding(1))
        store.hold(name)
    assert len(files(temporary)) == 2
    if end == "clear":
        store.clear()
        assert "a" not in store
        store.put("d", embedding(4))  # it goes on working
        store.hold("d")
        store.put("e", embedding(5))
        assert store.get("d") is not None
        store.clear()
    else:
        del store
    assert list(temporary.iterdir()) == []


def test_a_folder_keeps_what_does_not_fit_for_the_next_session(tmp_path):
    folder = tmp_path / "embeddings"
    store = EmbeddingStore(1, folder)
    store.put("a", embedding(1))
    store.put("b", embedding(2))
    assert files(folder) == ["a.npy"]
    assert np.array_equal(store.get("a"), embedding(1))
    store.hold("a")
    store.release("a")
    store.clear()
    later = EmbeddingStore(1, folder)
    assert np.array_equal(later.get("a"), embedding(1))


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"not an array at all"])
def test_a_damaged_file_is_forgotten_with_a_warning(tmp_path, caplog, damage):
    (tmp_path / "a.npy").write_bytes(damage)
    store = EmbeddingStore(1, tmp_path)
    assert "a" in store
    with caplog.at_level(logging.WARNING):
        assert store.get("a") is None
    assert "made again" in caplog.text
    assert "a" not in store


def test_a_file_that_others_deleted_is_forgotten(tmp_path):
    store = EmbeddingStore(1, tmp_path)
    store.put("a", embedding(1))
    store.put("b", embedding(2))
    (tmp_path / "a.npy").unlink()
    assert store.get("a") is None
