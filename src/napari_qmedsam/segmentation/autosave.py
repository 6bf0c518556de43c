"""Boxes and labels of a session, kept in the user's state folder until saved.

A file belongs to one session of one process. It counts as left behind once
that process is gone, or has said that it closed with work unsaved; then the
next session on the same volume may offer it.
"""

import hashlib
import itertools
import json
import logging
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from napari_qmedsam.checkpoints.download import HOME_VARIABLE
from napari_qmedsam.disk import atomic_write
from napari_qmedsam.segmentation.object_entries import object_entry, object_of
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.volumes.volume import Volume

log = logging.getLogger(__name__)

FORMAT = 1
"""Raised when older files can no longer be read; such files are not offered."""

SAMPLED_VOXELS = 1 << 18
"""Voxels that tell one volume from another of the same shape and place."""

KEPT_DAYS = 30
"""Files nobody came back for are deleted after so long."""

UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What files that others damaged are answered with."""

_numbers = itertools.count()


@dataclass(frozen=True)
class Recovery:
    """What an earlier session left behind.

    Parameters
    ----------
    path : Path
    saved : float
        When, in seconds since the epoch.
    objects : tuple of SegmentObject
    labels : ndarray, (Z, Y, X)
    """

    path: Path
    saved: float
    objects: tuple[SegmentObject, ...]
    labels: NDArray

    def discard(self) -> None:
        """Delete the file: its work was taken over, or is not wanted."""
        self.path.unlink(missing_ok=True)


def state_folder() -> Path:
    """Folder for what is remembered between starts; QMEDSAM_HOME moves it."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser() / "state"
    return platformdirs.user_state_path("napari-qmedsam", appauthor=False)


def fingerprint(volume: Volume) -> str:
    """Return what tells a volume from others, whatever its file is called.

    From its shape, affine and evenly spread voxels; a large volume is not
    read as a whole.
    """
    flat = volume.array.reshape(-1)
    sample = np.ascontiguousarray(flat[:: max(1, flat.size // SAMPLED_VOXELS)])
    digest = hashlib.blake2b(digest_size=12)
    digest.update(f"{volume.array.shape}{volume.array.dtype}".encode())
    digest.update(np.round(volume.affine, 6).tobytes())
    digest.update(sample.tobytes())
    return digest.hexdigest()


class Autosave:
    """The file of one session.

    Parameters
    ----------
    volume : Volume
    folder : Path, optional
        Default: ``autosave`` in :func:`state_folder`.
    """

    def __init__(self, volume: Volume, folder: Path | None = None) -> None:
        self._folder = folder or state_folder() / "autosave"
        self._shape = volume.shape
        self._key = fingerprint(volume)
        own = f"{self._key}-{os.getpid()}-{next(_numbers)}.npz"
        self.path = self._folder / own
        self._taken: list[Recovery] = []
        """Restored, and kept until :attr:`path` holds what became of them."""

    def write(
        self,
        objects: Mapping[int, SegmentObject],
        labels: NDArray,
        is_closed: bool = False,
    ) -> None:
        """Write boxes and labels, whole or not at all.

        Only the slices that hold a label are stored. Safe in another thread as
        long as nobody paints; a slice painted meanwhile is written next time.

        Masks that were kept are given up for other masks only: where there is none
        any more, as after the labels layer was deleted, the file stays as it is.

        Raises
        ------
        OSError
            If the folder cannot be written to.
        """
        if not labels.any() and (not objects or self._holds_masks()):
            if is_closed:
                self._mark_closed()
            return
        filled = np.flatnonzero([plane.any() for plane in labels])
        header = {
            "format": FORMAT,
            "process": os.getpid(),
            "is_closed": is_closed,
            "saved": time.time(),
            "objects": [object_entry(o) for o in objects.values()],
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path) as part:
            np.savez_compressed(
                part,
                header=np.array(json.dumps(header)),
                slices=filled,
                labels=labels[filled],
            )
        self._drop_taken()

    def take_over(self, recovery: Recovery) -> None:
        """Let the next whole file replace what was restored from another."""
        self._taken.append(recovery)

    def discard(self) -> None:
        """Delete the file: the work was saved, or given up."""
        self.path.unlink(missing_ok=True)
        self._drop_taken()

    def left_behind(self) -> Recovery | None:
        """Return the newest work that an earlier session left, if there is any.

        Files that cannot be read are passed over, and very old ones deleted.
        """
        found = []
        own = {self.path, *(recovery.path for recovery in self._taken)}
        for path in self._folder.glob("*.npz"):
            if path in own:
                continue
            try:
                if time.time() - path.stat().st_mtime > KEPT_DAYS * 86400:
                    path.unlink(missing_ok=True)
                elif path.name.startswith(self._key):
                    recovery = _read(path, self._shape)
                    if recovery is not None:
                        found.append(recovery)
            except UNREADABLE as error:
                log.warning("Cannot read the autosave '%s': %s", path, error)
        return max(found, key=lambda recovery: recovery.saved, default=None)

    def _drop_taken(self) -> None:
        for recovery in self._taken:
            recovery.discard()
        self._taken.clear()

    def _holds_masks(self) -> bool:
        """Tell whether there is a file that holds a label."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                return bool(file["slices"].size)
        except UNREADABLE:
            return False

    def _mark_closed(self) -> None:
        """Say of the file, if there is one, that nobody works on it any more."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                kept = {name: file[name] for name in file.files}
        except UNREADABLE:
            return
        header = {**json.loads(str(kept["header"])), "is_closed": True}
        kept["header"] = np.array(json.dumps(header))
        with atomic_write(self.path) as part:
            np.savez_compressed(part, **kept)


def _read(path: Path, shape: tuple[int, int, int]) -> Recovery | None:
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(str(file["header"]))
        if header["format"] != FORMAT:
            return None
        if not header["is_closed"] and _is_running(int(header["process"])):
            return None
        slices, stored = file["slices"], file["labels"]
    labels = np.zeros(shape, stored.dtype)
    labels[slices] = stored
    objects = tuple(object_of(entry) for entry in header["objects"])
    return Recovery(path, float(header["saved"]), objects, labels)


def _is_running(process: int) -> bool:
    """Tell whether a process of this number runs; this one counts."""
    if process == os.getpid():
        return True
    if sys.platform == "win32":
        import ctypes

        # os.kill would end it there. 0x1000: may be asked about, no more.
        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, process)
        if not handle:
            return False
        ctypes.windll.kernel32.CloseHandle(handle)
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
