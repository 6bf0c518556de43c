"""Names of files, and how to say that one cannot be read."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_qmedsam.errors import UnreadableVolume

COPY_AGAIN = "Copy or export it again."
EXPORT_AGAIN = "Re-export it with a valid header."


def suffix_of(path: Path) -> str:
    """Return the suffix in lower case, with ``.nii.gz`` kept whole."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def free_path(path: Path) -> Path:
    """Return a path that no file has: ``a_2.nii.gz`` where ``a.nii.gz`` is taken."""
    suffix = path.name[len(path.name) - len(suffix_of(path)) :]
    stem, number, free = path.name.removesuffix(suffix), 2, path
    while free.exists():
        free = path.with_name(f"{stem}_{number}{suffix}")
        number += 1
    return free


def unreadable(path: Path, reason: str, advice: str) -> UnreadableVolume:
    """Make the error ``Cannot read 'name': reason. advice``."""
    name = path.name or str(path)
    return UnreadableVolume(f"Cannot read '{name}': {reason}. {advice}")


@contextmanager
def system_errors_named(path: Path) -> Iterator[None]:
    """Say what the system says of a file in our own error.

    Raises
    ------
    UnreadableVolume
        If the block asks for a name that no file can have, for a file of others, or
        for more memory than there is, or the disk fails.
    """
    try:
        yield
    except PermissionError as error:
        raise unreadable(
            path, "permission is denied", "Ask its owner for the right to read it."
        ) from error
    except OSError as error:
        raise unreadable(
            path, (error.strerror or str(error)).lower(), COPY_AGAIN
        ) from error
    except MemoryError as error:
        raise unreadable(
            path, "it does not fit into memory", "Close other programs, or crop it."
        ) from error


def file_beside(path: Path, name: str) -> Path:
    """Return the data file that a header names.

    Where a link in that folder leads is for who laid it: DataLad keeps files so.

    Raises
    ------
    UnreadableVolume
        If it is missing, or its name leads out of the folder of the header.
    """
    name = name.replace("\0", "?")
    folder = Path(os.path.abspath(path.parent))
    beside = Path(os.path.abspath(folder / name))
    if "\\" in name and not beside.exists():
        # Written on Windows.
        beside = Path(os.path.abspath(folder / name.replace("\\", "/")))
    if not beside.is_relative_to(folder):
        raise unreadable(
            path,
            f"its data file '{name}' lies outside its folder",
            "Put both files in one folder and name it without a path.",
        )
    if len(name) > 255 or not beside.is_file():
        raise unreadable(
            path,
            f"its data file '{name[:80]}' is missing",
            "Keep both files in one folder.",
        )
    return beside


def numbered_names(path: Path, words: list[str]) -> list[str]:
    """Return the names that a header's pattern with first, last and step stands for.

    Parameters
    ----------
    path : Path
        The header, named in the error.
    words : list of str
        ``["slice%03d.raw", "1", "20", "1"]``; the step may be left out.

    Raises
    ------
    UnreadableVolume
        If it is no such pattern.
    """
    numbers = [int(word) for word in words[1:4] if re.fullmatch(r"-?\d{1,7}", word)]
    plain = re.fullmatch(r"[^%]*%0?\d{0,2}[di][^%]*", words[0])
    if plain is None or len(numbers) < 2 or 0 in numbers[2:]:
        raise unreadable(path, f"its data files are '{words[0][:80]}'", EXPORT_AGAIN)
    first, last, step = [*numbers, 1][:3]
    count = range(first, last + (1 if step > 0 else -1), step)
    return [words[0] % number for number in count]


def axis_sizes(path: Path, sizes: str, dimensions: str) -> tuple[int, ...]:
    """Read the sizes of two to eight axes, as many as the header says there are.

    Raises
    ------
    UnreadableVolume
    """
    words = sizes.split()
    are_whole = all(w.isascii() and w.isdigit() and int(w) > 0 for w in words)
    if not are_whole or not 2 <= len(words) <= 8 or dimensions != str(len(words)):
        raise unreadable(
            path,
            f"its header gives {dimensions[:20] or 'no'} dimensions of the sizes "
            f"'{sizes[:80]}'",
            EXPORT_AGAIN,
        )
    return tuple(int(word) for word in words)


def listed_names(header: Path, start: int, limit: int) -> list[str]:
    """Return the file names that follow a header, a line each."""
    with header.open("rb") as stream:
        stream.seek(start)
        lines = stream.read(limit).decode("latin-1").splitlines()
    return [line.strip() for line in lines if line.strip()]
