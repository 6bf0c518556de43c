"""The header of an NRRD file, and where it says that the voxels are."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_qmedsam.volumes.files import (
    EXPORT_AGAIN,
    axis_sizes,
    file_beside,
    listed_names,
    numbered_names,
    unreadable,
)
from napari_qmedsam.volumes.grid import MM_PER_UNIT, NO_SPACING, unit_notice

HEADER_LIMIT = 1 << 24
"""Bytes of header lines."""


TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), 1),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int"), 2),
    **dict.fromkeys(("int16", "int16_t", "ushort", "unsigned short"), 2),
    **dict.fromkeys(("unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), 4),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t", "float"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64"), 8),
    **dict.fromkeys(("signed long long", "signed long long int", "int64_t"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), 8),
    **dict.fromkeys(("unsigned long long int", "double"), 8),
}
"""Bytes of each of NRRD's types, in all their spellings."""


SPACES = {
    "ras",
    "right-anterior-superior",
    "las",
    "left-anterior-superior",
    "lps",
    "left-posterior-superior",
}
"""Spaces that say where the patient's sides are; "-time" may follow."""


NO_SIDES = (
    "The header does not say where the patient's sides are; its axes are taken to run "
    "to the left, to posterior and to superior."
)
"""What ITK assumes of other spaces, and of none."""


PART_SPACING = "The file carries no voxel size along every axis; 1 mm is assumed there."


VECTORS = re.compile(r"(\s*(none|\([^()]*\)))+\s*")
"""How vectors are written; ITK's reader crashes on one without its end."""


@dataclass(frozen=True)
class NrrdHeader:
    """Fields of an NRRD header, and where it ends."""

    path: Path
    fields: dict[str, str]
    start: int

    def get(self, *names: str) -> str:
        """Return the first of several spellings of a field."""
        return next((self.fields[n] for n in names if n in self.fields), "")

    @property
    def encoding(self) -> str:
        """How voxels are written."""
        return self.get("encoding").lower()

    @property
    def data_file(self) -> str:
        """Name, pattern or LIST of the files that hold them; empty for this one."""
        return self.get("data file", "datafile")


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Read a header, or refuse what is none.

    Raises
    ------
    UnreadableVolume
    """
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        if not stream.readline(64).startswith(b"NRRD"):
            raise unreadable(path, "it is not an NRRD file", "Check what it holds.")
        while stream.tell() < HEADER_LIMIT:
            line = stream.readline(1 << 16)
            if not line.strip():
                break
            text = line.decode("latin-1").strip()
            key, found, value = text.partition(": ")
            if found and not text.startswith("#") and ":=" not in key:
                fields[key.strip().lower()] = value.strip()
                if key.strip().lower() in ("data file", "datafile") and (
                    value.split()[:1] == ["LIST"]
                ):
                    break  # the names follow at once
        return NrrdHeader(path, fields, stream.tell())


def unit_of(header: NrrdHeader) -> tuple[float, tuple[str, ...]]:
    """Return the mm in the unit of length of a header, and a notice of others."""
    stored = header.get("space units") or header.get("units")
    names = {name.strip().lower() for name in re.findall(r'"([^"]*)"', stored)} - {""}
    lengths = {MM_PER_UNIT[name] for name in names if name in MM_PER_UNIT}
    if len(lengths) == 1:
        (factor,) = lengths
        return factor, unit_notice(factor)
    if not names:
        return 1.0, ()
    listed = ", ".join(f"'{name[:20]}'" for name in sorted(names))
    return 1.0, (f"The header gives lengths in {listed}; they are taken for mm.",)


def assumptions(header: NrrdHeader) -> tuple[str, ...]:
    """Say what of size and direction the header leaves open."""
    notices: tuple[str, ...] = ()
    if "space directions" not in header.fields:
        # An axis of components has none.
        given = header.get("spacings").lower().split()
        wanted = min(3, len(header.get("sizes").split()))
        if sum(word != "nan" for word in given) < wanted:
            notices += (NO_SPACING if not given else PART_SPACING,)
    elif "nan" in header.get("space directions").lower():
        notices += (PART_SPACING,)
    space = header.get("space").lower().removesuffix("-time")
    if space not in SPACES and len(header.get("sizes").split()) > 2:
        notices += (NO_SIDES,)
    return notices


def skip_of(header: NrrdHeader, what: str) -> int:
    """Return the lines or bytes before the voxels; -1 byte counts from the end."""
    stored = header.get(f"{what} skip", f"{what}skip") or "0"
    if not re.fullmatch(r"-1|\d{1,12}", stored):
        raise unreadable(
            header.path,
            f"its header gives the {what} skip '{stored[:40]}'",
            EXPORT_AGAIN,
        )
    return int(stored)


def after_lines(file: Path, start: int, lines: int) -> int:
    """Return where a file goes on after so many lines."""
    if lines <= 0:
        return start
    with file.open("rb") as stream:
        stream.seek(start)
        for _ in range(lines):
            if not stream.readline():
                break
        return stream.tell()


def declared_bytes(header: NrrdHeader) -> int:
    """Return how many bytes of voxels a header declares."""
    sizes = axis_sizes(header.path, header.get("sizes"), header.get("dimension"))
    kind = header.get("type").lower()
    if kind not in TYPES:
        raise unreadable(
            header.path, f"its voxels are of the type '{kind[:40]}'", EXPORT_AGAIN
        )
    return math.prod(sizes) * TYPES[kind]


def data_parts(header: NrrdHeader) -> Iterator[tuple[Path, int]]:
    """Return the files that hold the voxels, and where in them they start."""
    name = header.data_file
    if not name:
        yield header.path, header.start
        return
    words = name.split()
    if words[0] == "LIST":
        names = listed_names(header.path, header.start, HEADER_LIMIT)
    elif "%" in name and len(words) >= 4:
        names = numbered_names(header.path, words)
    else:
        names = [name]
    if not names:
        raise unreadable(header.path, "it names no data files", EXPORT_AGAIN)
    for each in names:
        yield file_beside(header.path, each), 0
