"""Writing to disk: whole or not at all, and whether it can be done.

The one place that makes a file appear. Everything is written into a hidden
folder beside its target, flushed to the disk and then renamed, so that a full
disk, a kill or a power cut leaves the old file or the new one.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".qmedsam-"
"""How the hidden folders are called that a kill may leave behind."""


@contextmanager
def atomic_files(folder: Path, last: str) -> Iterator[Path]:
    """Give an empty folder; what is in it at the end moves into `folder`.

    Files of the same names are replaced. Nothing is moved if the block fails.

    Parameters
    ----------
    folder : Path
        It must exist.
    last : str
        Name of the file that is moved last: the one by which readers find the
        others, such as the header of an MHD.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    scratch = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        yield scratch
        made = sorted(scratch.iterdir(), key=lambda path: path.name == last)
        for path in made:
            _flush(path)
        for path in made:
            os.replace(path, folder / path.name)
        _flush_names(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path of the same name to write to; it replaces `path` at the end.

    The new file has the rights of the old one, or those any new file gets,
    whatever the writer set.

    Raises
    ------
    OSError
        If the disk does not take it. `path` is then as it was.
    """
    with atomic_files(path.parent, last=path.name) as scratch:
        part = scratch / path.name
        part.touch()
        rights = (path if path.is_file() else part).stat().st_mode
        yield part
        part.chmod(rights)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def move_into_place(part: Path, target: Path) -> None:
    """Rename a finished file or folder to its name, contents on disk first.

    For what is written over a long time and may be taken up again, such as a
    download; :func:`atomic_write` is for the rest.
    """
    _flush(part)
    os.replace(part, target)
    _flush_names(target.parent)


def why_not_writable(folder: Path) -> str | None:
    """Return why no file can be made in a folder; None where one can.

    It is tried: permissions alone do not tell of a read-only or full disk.
    """
    if not folder.is_dir():
        return f"there is no folder '{folder}'"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"{error.strerror} in '{folder}'"


def nearest_folder(path: Path) -> Path:
    """Return a path itself, or the first of its parents that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _flush(path: Path) -> None:
    """Have the system put a file, or all files of a folder, on disk."""
    if path.is_dir():
        for inner in path.iterdir():
            _flush(inner)
        _flush_names(path)
        return
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _flush_names(folder: Path) -> None:
    """Have the system put the names in a folder on disk, where it can."""
    # Windows opens no folders, and some network drives flush none.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
