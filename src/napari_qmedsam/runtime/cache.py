"""Folders of graphs that can be made again, made once."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from napari_qmedsam.disk import move_into_place


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
    rename at the end decides.

    Parameters
    ----------
    folder : Path
    last_file : str
        Its presence says that the folder is whole.
    make : callable
        Writes the files into the folder it is given.
    """
    if (folder / last_file).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        make(work)
        try:
            move_into_place(work, folder)
        except OSError:  # another process was first, or an old half is there
            if not (folder / last_file).exists():
                shutil.rmtree(folder, ignore_errors=True)
                move_into_place(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder
