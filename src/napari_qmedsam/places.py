"""Whether files can be written somewhere, asked before long work for them starts."""

import tempfile
from pathlib import Path


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
