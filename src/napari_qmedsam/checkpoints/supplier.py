"""Whatever may give the bytes of a checkpoint, behind one small protocol.

A supplier appends to, or replaces, a file ending in ``.part``; who asked for it
renames the file once it is whole. So the ways of getting weights differ in one
method, and nothing else needs to know which of them it was.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from napari_qmedsam.checkpoints.catalogue import CheckpointEntry
from napari_qmedsam.checkpoints.checksum import sha256_of

POLL_SECONDS = 0.1
"""Time between two looks at whether to stop, whatever is waited for meanwhile."""

DownloadProgress = Callable[[int, int | None], None]
"""Called with the bytes there so far, and the bytes in all if known."""


class Unusable(Exception):
    """A way does not give the file; the text says why, without a full stop."""


class Broken(Unusable):
    """The connection broke; the same address is worth another try."""


class Supplier(Protocol):
    """One way of getting a file."""

    def supply(self, part: Path, progress: DownloadProgress | None = None) -> None:
        """Complete `part`, whose folder exists, and verify it.

        Raises
        ------
        Unusable
            If this way does not give the file.
        Cancelled
            If the work is not wanted any more.
        OSError
            If the file cannot be stored.
        """
        ...


def stored_bytes(part: Path) -> int:
    """Return the size of a file, 0 if it is not there."""
    return part.stat().st_size if part.exists() else 0


def verify(entry: CheckpointEntry, part: Path) -> None:
    """Remove `part` and say so if it is not the published file.

    Raises
    ------
    Unusable
        With what is wrong with it.
    """
    size = stored_bytes(part)
    problem = ""
    if size == 0:
        problem = "the file was empty"
    elif entry.size_bytes is not None and size != entry.size_bytes:
        problem = f"the file had {size} bytes instead of {entry.size_bytes}"
    elif entry.sha256 is not None and (digest := sha256_of(part)) != entry.sha256:
        problem = f"the file had SHA-256 {digest} instead of {entry.sha256}"
    if problem:
        part.unlink(missing_ok=True)
        raise Unusable(f"{problem} and was removed")
