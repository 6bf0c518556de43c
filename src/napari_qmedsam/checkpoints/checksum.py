"""Checksums: of a file, and of its tensors, which is kept in its card.

safetensors notices a file that is cut off, but not one whose numbers changed;
a flipped code of a quantized weight would be a mask that is a little wrong.
"""

import hashlib
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_qmedsam.errors import BadCheckpoint

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUM_KEY = "tensors_sha256"
"""Where a card has it; files made elsewhere, and older ones, go without."""

SETTLED_SECONDS = 2
"""Age from which a file's time tells that it was not written to since; clocks of
file systems are that coarse."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file; read once in a process, until it changes.

    What tells a change is the file's place, size and time, so a file that was
    written just now is read each time.
    """
    stat = path.stat()
    known = (str(path.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns)
    is_settled = time.time() - stat.st_mtime > SETTLED_SECONDS
    return (_sha256 if is_settled else _sha256.__wrapped__)(*known)


@lru_cache
def _sha256(path: str, inode: int, size: int, time_ns: int) -> str:
    return sha256_of(Path(path))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, which is read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensor_checksum(tensors: Mapping[str, "Tensor"]) -> str:
    """Return the SHA-256 over names, shapes, types and bytes, in order of name."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_tensors(
    tensors: Mapping[str, "Tensor"], card: Mapping[str, Any], file_name: str
) -> None:
    """Refuse tensors that are not those the card was written with.

    Raises
    ------
    BadCheckpoint
    """
    if CHECKSUM_KEY in card and card[CHECKSUM_KEY] != tensor_checksum(tensors):
        raise BadCheckpoint(
            f"'{file_name}' is damaged: its tensors do not match the checksum in its "
            "card. Copy or make the file again."
        )
