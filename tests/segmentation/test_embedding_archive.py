"""Embeddings on disk: half the bytes, a budget, and found by the next session."""

import logging
import os

import numpy as np
import pytest

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.segmentation.embedding_archive import (
    BUDGET,
    SUFFIX,
    EmbeddingArchive,
    users_archive,
)
from napari_qmedsam.segmentation.embeddings import EmbeddingStore

GIGABYTE = 10**9


def embedding(value: float) -> np.ndarray:
    return np.full((1, 4, 16, 16), value, np.float32)  # 4 kB, 2 kB in half


def test_the_next_session_finds_what_was_kept(tmp_path):
    given = np.random.default_rng(0).normal(size=(1, 4, 16, 16)).astype(np.float32)
    EmbeddingArchive(tmp_path / "new", GIGABYTE).put("a", given)
    later = EmbeddingArchive(tmp_path / "new", GIGABYTE)
    found = later.get("a")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, given, rtol=2**-11, atol=1e-7)
    assert later.bytes_on_disk < 0.6 * given.nbytes
    assert "a" in later
    assert later.get("b") is None


def test_what_was_used_longest_ago_makes_room(tmp_path):
    archive = EmbeddingArchive(tmp_path, 2 * 2300)  # a header besides the values
    archive.put("a", embedding(1))
    archive.put("b", embedding(2))
    assert archive.get("a") is not None
    archive.put("c", embedding(3))
    assert ["a" in archive, "b" in archive, "c" in archive] == [True, False, True]
    assert archive.bytes_on_disk <= archive.budget
    for name, age in (("a", 10), ("c", 20)):  # files tell their age to others
        os.utime(tmp_path / f"{name}{SUFFIX}", (age, age))
    later = EmbeddingArchive(tmp_path, 2300)
    assert ["a" in later, "c" in later] == [False, True]


def test_values_beyond_half_precision_are_kept_as_they_are(tmp_path):
    archive = EmbeddingArchive(tmp_path, GIGABYTE)
    archive.put("a", embedding(1e5))
    assert np.array_equal(archive.get("a"), embedding(1e5))


@pytest.mark.parametrize("damage", [b"", b"not an embedding at all"])
def test_a_damaged_embedding_is_made_again(tmp_path, caplog, damage):
    (tmp_path / f"a{SUFFIX}").write_bytes(damage)
    archive = EmbeddingArchive(tmp_path, GIGABYTE)
    with caplog.at_level(logging.WARNING):
        assert archive.get("a") is None
    assert "made again" in caplog.text
    assert "a" not in archive


def test_a_store_asks_its_archive_last_and_tells_it_everything(tmp_path):
    store = EmbeddingStore(archive=EmbeddingArchive(tmp_path, GIGABYTE))
    store.put("a", embedding(1 / 3))
    assert np.array_equal(store.get("a"), embedding(1 / 3))  # as it was, from memory
    later = EmbeddingStore(archive=EmbeddingArchive(tmp_path, GIGABYTE))
    assert "a" in later
    found = later.get("a")
    assert np.array_equal(found, embedding(np.float16(1 / 3)))
    assert later.get("a") is found  # from memory now


@pytest.mark.parametrize(("text", "budget"), [("0", None), ("0.5", GIGABYTE // 2)])
def test_users_set_the_budget(tmp_path, monkeypatch, text, budget):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))
    monkeypatch.setenv(BUDGET, text)
    archive = users_archive()
    assert (archive and archive.budget) == budget


def test_a_budget_that_is_none_is_told(monkeypatch):
    monkeypatch.setenv(BUDGET, "much")
    with pytest.raises(InvalidSettings, match="is 'much', but must be a number"):
        users_archive()


def test_a_budget_that_is_named_goes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))
    monkeypatch.delenv(BUDGET, raising=False)
    assert users_archive(default=2).budget == 2 * GIGABYTE
    monkeypatch.setenv(BUDGET, "3")
    assert users_archive(default=2).budget == 3 * GIGABYTE
    assert users_archive(1).budget == GIGABYTE
    assert users_archive(0) is None
