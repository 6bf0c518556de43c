"""NRRD files, attached and detached.

ITK reads them once the header is known to be kept by the data: it accepts
gzip streams with a wrong checksum.
"""

import math
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
from napari_qmedsam.volumes.grid import affine_from_geometry
from napari_qmedsam.volumes.inflating import DEFLATE_LIMIT, Damaged, inflate_into
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

    _check_data(_read_header(path))
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


def _check_data(header: _Header) -> None:
    """See that what the header declares is there, whole and undamaged."""
    path = header.path
    needed = _declared(header)
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
    parts = list(_parts(header))
    share = needed // len(parts)
    for file, start in parts:
        present = file.stat().st_size - start
        beside = "" if file == path else f"of its data file '{file.name}' "
        if header.encoding in GZIP:
            if share > present * DEFLATE_LIMIT:
                missing = f"{share} bytes are declared, but {present} packed ones there"
                raise unreadable(path, f"{beside}{missing}", COPY_AGAIN)
            with file.open("rb") as stream:
                stream.seek(start)
                try:
                    inflate_into(stream, 0, memoryview(bytearray()), share)
                except Damaged as error:
                    raise unreadable(path, f"{beside}{error}", COPY_AGAIN) from error
        elif header.encoding == "raw" and present < share:
            missing = f"{share - present} of {share} bytes are missing"
            raise unreadable(path, f"{beside}{missing}", COPY_AGAIN)
        elif header.encoding in TEXT and 2 * present + 1 < share // 8:
            raise unreadable(path, f"{beside}its values are cut short", COPY_AGAIN)


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
