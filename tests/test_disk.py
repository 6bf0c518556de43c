"""Files appear whole or not at all, and whether they can be written somewhere."""

import errno
import os
import re
import tempfile
from pathlib import Path

import pytest

from napari_qmedsam import disk
from napari_qmedsam.disk import (
    atomic_files,
    atomic_write,
    move_into_place,
    nearest_folder,
    why_not_writable,
)


def test_a_folder_that_can_be_written_to(tmp_path):
    assert why_not_writable(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_reasons_why_not(tmp_path, monkeypatch):
    assert "no folder" in why_not_writable(tmp_path / "none")
    (tmp_path / "file").write_text("")
    assert "no folder" in why_not_writable(tmp_path / "file")

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert why_not_writable(tmp_path).startswith(os.strerror(errno.EROFS))


def test_nearest_folder_is_what_would_hold_the_new_ones(tmp_path):
    assert nearest_folder(tmp_path / "a" / "b") == tmp_path
    assert nearest_folder(tmp_path) == tmp_path


def test_a_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as part:
        assert part.name == "a.txt"  # writers go by the suffix
        assert part.parent.parent == tmp_path  # a rename must not cross disks
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half():
        with atomic_write(path) as part:
            part.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_files_are_on_disk_before_their_names(tmp_path, monkeypatch):
    """In the order of the system's calls: contents, names, folder."""
    calls = []
    sync, replace = os.fsync, os.replace

    def note_sync(handle):
        calls.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        sync(handle)

    def note_replace(source, target):
        calls.append(f"to {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    with atomic_files(tmp_path, last="a.mhd") as scratch:
        (scratch / "a.mhd").write_text("header")
        (scratch / "z.raw").write_text("voxels")
    assert calls == ["z.raw", "a.mhd", "to z.raw", "to a.mhd", tmp_path.name]


def test_a_folder_moves_with_what_is_in_it(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a").write_text("1")
    move_into_place(tmp_path / "part", tmp_path / "whole")
    assert (tmp_path / "whole" / "a").read_text() == "1"
    assert not (tmp_path / "part").exists()


def test_rights_are_those_of_the_old_file_or_of_any_new_one(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    old = tmp_path / "old"
    old.touch(mode=0o640)
    for path in (tmp_path / "new", old):
        before = (path if path.exists() else plain).stat().st_mode
        with atomic_write(path) as part:
            part.unlink()
            part.touch(mode=0o600)
        assert path.stat().st_mode == before


def test_nothing_else_renames_files():
    """One helper, so that no writer forgets to flush."""
    package = Path(disk.__file__).parent
    pattern = re.compile(
        r"os\.(replace|rename)\(|\.(replace|rename)\((path|target|destination|folder)\b"
    )
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"disk.py"}
