"""Arrays of NPZ archives, of which nothing is unpickled."""

import logging
import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.inflating import DEFLATE_LIMIT

logger = logging.getLogger(__name__)


COPY_AGAIN = "Copy or download it again."


DAMAGE = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What damaged archives and headers of arrays raise, beside ValueError."""


def load_arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray]:
    """Return those of the named arrays that the file has; nothing is unpickled."""
    try:
        _check_declared(path, names)
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in names if name in file.files}
            # Models take numbers in the order of this machine only.
            return {
                name: array.astype(array.dtype.newbyteorder("="), copy=False)
                for name, array in found.items()
            }
    except DAMAGE as error:
        logger.debug("%s: %s", path, error)
        raise unreadable(
            path, "the file is damaged or not an NPZ archive", COPY_AGAIN
        ) from error
    except ValueError as error:
        logger.debug("%s: %s", path, error)
        if "pickle" not in str(error).lower():
            raise unreadable(path, "an array in it is damaged", COPY_AGAIN) from error
        raise unreadable(
            path,
            "it holds pickled objects, which could run code and are not loaded",
            "Save plain number arrays.",
        ) from error


def _check_declared(path: Path, names: tuple[str, ...]) -> None:
    """Compare what arrays declare with what the archive holds, before memory."""
    with zipfile.ZipFile(path) as archive:
        for name in {f"{name}.npy" for name in names} & set(archive.namelist()):
            entry = archive.getinfo(name)
            with archive.open(name) as stream:
                shape, dtype = _npy_header(stream)
            declared = math.prod(shape) * dtype.itemsize
            held = min(entry.file_size, entry.compress_size * DEFLATE_LIMIT)
            if not dtype.hasobject and declared > held:
                raise ValueError(f"{name} declares {declared} bytes, but holds {held}")


def array_shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    """Return the shape of an array, of which the header alone is read."""
    with archive.open(name) as stream:
        return _npy_header(stream)[0]


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else None
    shape, _, dtype = (read or npy.read_array_header_2_0)(stream)
    if any(not 0 <= n < 1 << 40 for n in shape) or len(shape) > 8:
        raise ValueError(f"an array has the shape {shape}")
    return shape, dtype


def is_npz(head: bytes) -> bool:
    """Tell a zip archive whose first file is an array."""
    (length,) = struct.unpack_from("<H", head.ljust(30, b"\0"), 26)
    return head.startswith(b"PK\x03\x04") and head[30 : 30 + length].endswith(b".npy")
