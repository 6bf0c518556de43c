"""Checksums of files: read once, and never out of date."""

import hashlib
import os
import time

from napari_qmedsam.checkpoints import checksum
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.models.configuration import DEMO


def test_checksum_is_read_once_and_follows_the_content(demo, tmp_path, monkeypatch):
    path = save_model(demo, tmp_path / "own.safetensors")
    source = ModelSource(DEMO, path)
    first = source.sha256
    assert len(first) == 64
    monkeypatch.setattr(checksum.hashlib, "file_digest", None)
    assert source.sha256 == first
    monkeypatch.undo()
    save_model(demo, path, {"title": "another header"})
    assert ModelSource(DEMO, path).sha256 != first


def test_checksum_of_a_file_is_read_once_in_a_process(tmp_path, monkeypatch):
    path = tmp_path / "own.bin"

    def write(content: bytes, age: float) -> None:
        path.write_bytes(content)
        os.utime(path, (time.time() - age, time.time() - age))

    write(b"one", 100)
    first = checksum.file_sha256(path)
    assert first == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(checksum.hashlib, "file_digest", None)
        assert checksum.file_sha256(path) == first
    write(b"two", 90)
    assert checksum.file_sha256(path) == hashlib.sha256(b"two").hexdigest()
    # What was written just now may be written again with the same time.
    for content in (b"abc", b"def"):
        path.write_bytes(content)
        os.utime(path, ns=(time.time_ns() // 10**9 * 10**9,) * 2)
        assert checksum.file_sha256(path) == hashlib.sha256(content).hexdigest()
