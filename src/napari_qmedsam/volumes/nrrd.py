"""NRRD files, attached and detached.

ITK reads them once the header is known to be kept by the data: it accepts
gzip streams with a wrong checksum.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.files import (
    COPY_AGAIN,
    EXPORT_AGAIN,
    file_beside,
    numbered_names,
    unreadable,
)
from napari_qmedsam.volumes.formats import WHOLE, Format, Selection, Shape
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.grid import (
    MM_PER_UNIT,
    NO_SPACING,
    affine_from_geometry,
    unit_notice,
)
from napari_qmedsam.volumes.inflating import (
    DEFLATE_LIMIT,
    GZIP_MARK,
    Damaged,
    inflate_into,
    left_over,
)
from napari_qmedsam.volumes.itk import (
    explain_itk,
    make_volume,
    open_itk,
    quiet_itk,
    text_fields,
    write_itk,
)
from napari_qmedsam.volumes.segment_fields import segments_of_fields
from napari_qmedsam.volumes.volume import Source, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

IMAGE_IO = "NrrdImageIO"
"""ITK's name for its reader."""

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

GZIP = ("gzip", "gz")
TEXT = ("text", "txt", "ascii", "hex")
COLOURS = ("RGB-color", "RGBA-color", "3-color", "4-color", "vector")
"""Kinds of an axis of three or four bytes that make a colour."""


@dataclass(frozen=True)
class _Header:
    """Fields of an NRRD header, and where it ends."""

    path: Path
    fields: dict[str, str]
    start: int

    def get(self, *names: str) -> str:
        """Return the first of several spellings of a field."""
        return next((self.fields[n] for n in names if n in self.fields), "")

    @property
    def encoding(self) -> str:
        return self.get("encoding").lower()

    @property
    def data_file(self) -> str:
        return self.get("data file", "datafile")


def read_nrrd(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read an NRRD or NHDR file.

    Three or four uint8 components of a kind that means colour are colour; of
    any other components, and of a 4D image, the frame picks one.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, its grid is no grid, or the frame is not in it.
    """
    import SimpleITK as sitk

    header = _read_header(path)
    extra = _check_data(header)
    reader = open_itk(path, IMAGE_IO)
    size = list(reader.GetSize())
    components = reader.GetNumberOfComponents()
    slabs = math.prod(size[3:])
    by_component = components > 1 and slabs == 1 and _has_layers(reader)
    frame, notices = choose_frame(
        path, selection.frame, components if by_component else slabs
    )
    if len(size) > 3:
        index = np.unravel_index(frame, size[3:], order="F")
        reader.SetExtractSize(size[:3] + [0] * (len(size) - 3))
        reader.SetExtractIndex([0, 0, 0] + [int(i) for i in index])
    with quiet_itk():
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise explain_itk(path, error) from error
    array: NDArray = sitk.GetArrayFromImage(image)
    if by_component:
        array = np.ascontiguousarray(array[..., frame])
    if image.GetDimension() == 2:
        array = array[np.newaxis]
    affine = affine_from_geometry(
        image.GetSpacing(), image.GetOrigin(), image.GetDirection()
    )
    factor, remarks = _unit(header)
    affine[:3] *= factor
    notices += remarks + _assumed(header) + left_over(extra)
    source = Source(str(path), "nrrd", dimensions=2 if len(size) == 2 else 3)
    layer = frame if by_component else 0
    segments = segments_of_fields(text_fields(reader), layer)
    volume = make_volume(path, array, affine, source, notices)
    return replace(volume, segments=segments)


def _has_layers(reader: "sitk.ImageFileReader") -> bool:
    """Tell layers, such as those of a segmentation, from colours and waves."""
    import SimpleITK as sitk

    kind = reader.GetPixelID()
    if kind in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        return False
    if kind != sitk.sitkVectorUInt8 or reader.GetNumberOfComponents() not in (3, 4):
        return True
    key = "NRRD_kinds[pixel]"
    return reader.HasMetaDataKey(key) and reader.GetMetaData(key) not in COLOURS


# Header and data ----------------------------------------------------------


def _read_header(path: Path) -> _Header:
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
        return _Header(path, fields, stream.tell())


def _unit(header: _Header) -> tuple[float, tuple[str, ...]]:
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


def _assumed(header: _Header) -> tuple[str, ...]:
    """Say what of size and direction the header leaves open."""
    notices: tuple[str, ...] = ()
    if "space directions" not in header.fields:
        # An axis of components has none.
        given = header.get("spacings").lower().split()
        wanted = min(3, len(header.get("sizes").split()))
        if sum(word != "nan" for word in given) < wanted:
            notices += (NO_SPACING if not given else PART_SPACING,)
    space = header.get("space").lower().removesuffix("-time")
    if space not in SPACES and len(header.get("sizes").split()) > 2:
        notices += (NO_SIDES,)
    return notices


def _check_data(header: _Header) -> int:
    """See that what the header declares is there, whole and undamaged.

    Returns
    -------
    int
        Bytes that follow the voxels.
    """
    path = header.path
    needed = _declared(header)
    for name in ("space origin", "space directions", "measurement frame"):
        if name in header.fields and not VECTORS.fullmatch(header.fields[name]):
            raise unreadable(
                path,
                f"its header gives the {name} '{header.fields[name][:80]}'",
                EXPORT_AGAIN,
            )
    if header.encoding in ("bzip2", "bz2", "zrl"):
        raise unreadable(
            path,
            f"its voxels are packed with {header.encoding}",
            "Save it with gzip, or without packing.",
        )
    if header.encoding not in ("raw", *GZIP, *TEXT):
        raise unreadable(
            path, f"its encoding is '{header.encoding[:40]}'", "Save it as raw or gzip."
        )
    if (
        header.encoding in ("raw", *GZIP)
        and TYPES[header.get("type").lower()] > 1
        and not header.get("endian")
    ):
        raise unreadable(
            path, "its header does not give the byte order (endian)", EXPORT_AGAIN
        )
    lines, skipped = (_skip(header, name) for name in ("line", "byte"))
    parts = list(_parts(header))
    share, extra = needed // len(parts), 0
    for file, start in parts:
        start = _after_lines(file, start, lines)
        if header.encoding == "raw":
            start += max(0, skipped)
        present = file.stat().st_size - start
        beside = "" if file == path else f"of its data file '{file.name}' "
        if header.encoding in GZIP:
            if share > present * DEFLATE_LIMIT:
                missing = f"{share} bytes are declared, but {present} packed ones there"
                raise unreadable(path, f"{beside}{missing}", COPY_AGAIN)
            with file.open("rb") as stream:
                stream.seek(start)
                try:
                    declared = share + max(0, skipped)
                    extra += inflate_into(stream, 0, memoryview(bytearray()), declared)
                except Damaged as error:
                    raise unreadable(path, f"{beside}{error}", COPY_AGAIN) from error
        elif header.encoding == "raw" and present < share:
            missing = f"{share - present} of {share} bytes are missing"
            raise unreadable(path, f"{beside}{missing}", COPY_AGAIN)
        elif header.encoding == "raw" and present > share and skipped >= 0:
            extra += present - share
            with file.open("rb") as stream:
                stream.seek(start)
                is_packed = stream.read(3) == GZIP_MARK + b"\x08"
            if is_packed:
                reason = "data are packed with gzip, but its header says raw"
                raise unreadable(path, f"{beside or 'its '}{reason}", EXPORT_AGAIN)
        elif header.encoding in TEXT and 2 * present + 1 < share // 8:
            raise unreadable(path, f"{beside}its values are cut short", COPY_AGAIN)
    return extra


def _skip(header: _Header, what: str) -> int:
    """Return the lines or bytes before the voxels; -1 byte counts from the end."""
    stored = header.get(f"{what} skip", f"{what}skip") or "0"
    if not re.fullmatch(r"-1|\d{1,12}", stored):
        raise unreadable(
            header.path,
            f"its header gives the {what} skip '{stored[:40]}'",
            EXPORT_AGAIN,
        )
    return int(stored)


def _after_lines(file: Path, start: int, lines: int) -> int:
    if lines <= 0:
        return start
    with file.open("rb") as stream:
        stream.seek(start)
        for _ in range(lines):
            if not stream.readline():
                break
        return stream.tell()


def _declared(header: _Header) -> int:
    """Return how many bytes of voxels a header declares."""
    sizes, dimension = header.get("sizes").split(), header.get("dimension")
    whole = all(s.isascii() and s.isdigit() and int(s) > 0 for s in sizes)
    if not whole or not 1 < len(sizes) <= 8 or dimension != str(len(sizes)):
        raise unreadable(
            header.path,
            f"its header gives {dimension[:20] or 'no'} dimensions of the sizes "
            f"'{header.get('sizes')[:80]}'",
            EXPORT_AGAIN,
        )
    kind = header.get("type").lower()
    if kind not in TYPES:
        raise unreadable(
            header.path, f"its voxels are of the type '{kind[:40]}'", EXPORT_AGAIN
        )
    return math.prod(int(size) for size in sizes) * TYPES[kind]


def _parts(header: _Header) -> Iterator[tuple[Path, int]]:
    """Return the files that hold the voxels, and where in them they start."""
    name = header.data_file
    if not name:
        yield header.path, header.start
        return
    words = name.split()
    if words[0] == "LIST":
        with header.path.open("rb") as stream:
            stream.seek(header.start)
            lines = stream.read(HEADER_LIMIT).decode("latin-1").splitlines()
        names = [line.strip() for line in lines if line.strip()]
    elif "%" in name and len(words) >= 4:
        names = numbered_names(header.path, words)
    else:
        names = [name]
    if not names:
        raise unreadable(header.path, "it names no data files", EXPORT_AGAIN)
    for each in names:
        yield file_beside(header.path, each), 0


def _header_shape(path: Path) -> Shape:
    _declared(_read_header(path))
    x, y, *rest = open_itk(path, IMAGE_IO).GetSize()
    return (rest[0] if rest else 1), y, x


NRRD = Format(
    name="nrrd",
    title="NRRD",
    suffixes=(".nrrd", ".nhdr"),
    recognises=lambda head: head.startswith(b"NRRD"),
    read=read_nrrd,
    shape=_header_shape,
    written=(".nrrd", ".nhdr"),
    write_labels=write_itk,
    write_image=write_itk,
)
