"""Folders of graphs that can be made again, made once."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from napari_qmedsam.checkpoints.checksum import sha256_of
from napari_qmedsam.disk import move_into_place

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"
"""File of a finished folder with the SHA-256 of every other."""


def cache_folder() -> Path:
    """Folder for what can be made again; QMEDSAM_CACHE overrides it."""
    override = os.environ.get("QMEDSAM_CACHE")
    if override:
        return Path(override).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("napari-qmedsam", appauthor=False))


def cache_key(*parts: object) -> str:
    """Return 16 hexadecimal digits that stand for everything given."""
    text = "\n".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_once(folder: Path, last_file: str, make: Callable[[Path], None]) -> Path:
    """Fill a folder unless it is there already, whole or not at all.

    Two processes may try at once: each works in a folder of its own and the
    rename at the end decides. What was damaged since is made again: a runtime
    would refuse some of it, and compute with the rest.

    Parameters
    ----------
    folder : Path
    last_file : str
        One that must be among them.
    make : callable
        Writes the files into the folder it is given.
    """
    if _is_whole(folder, last_file):
        return folder
    if folder.exists():
        log.warning("What is kept in '%s' is not whole; it is made again.", folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        make(work)
        sums = {path.name: sha256_of(path) for path in work.iterdir()}
        (work / CHECKSUMS).write_text(json.dumps(sums), encoding="ascii")
        try:
            move_into_place(work, folder)
        except OSError:  # another process was first, or an old half is there
            if not _is_whole(folder, last_file):
                shutil.rmtree(folder, ignore_errors=True)
                move_into_place(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _is_whole(folder: Path, last_file: str) -> bool:
    """Tell whether a folder holds what was written into it, to the last bit."""
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="ascii"))
        return last_file in sums and all(
            sha256_of(folder / name) == checksum for name, checksum in sums.items()
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return False
