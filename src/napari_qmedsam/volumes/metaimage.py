"""MetaImage: MHA and MHD files.

They are read here and not by ITK, which prints "Uncompress failed" for damaged
voxels, or a list with too few files, and hands out memory that nobody filled.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.cleaning import rescaled
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
    Damaged,
    inflate_into,
    left_over,
)
from napari_qmedsam.volumes.itk import make_volume, write_itk
from napari_qmedsam.volumes.segment_fields import segments_of_fields
from napari_qmedsam.volumes.segments import Segment
from napari_qmedsam.volumes.volume import Modality, Source, Volume

HEADER_LIMIT = 1 << 24
"""Bytes of header lines; ultrasound sweeps name thousands of frames."""

MODALITIES = {
    "MET_MOD_CT": Modality.CT,
    "MET_MOD_MR": Modality.MR,
    "MET_MOD_US": Modality.US,
}
"""How a header names what made the image; MET_MOD_NM and MET_MOD_OTHER say little."""

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MetaImage's element types as numpy's; LONG has 4 bytes there."""


@dataclass(frozen=True)
class _Header:
    """What a MetaImage header says about its voxels.

    Parameters
    ----------
    sizes : tuple of int
        Order (x, y, z, ...).
    channels : int
    dtype : dtype
        With byte order.
    affine : ndarray, (4, 4)
        Voxels (x, y, z) to RAS mm.
    data_file : str
        ``LOCAL``, ``LIST ...``, a pattern or a name.
    start : int
        Byte after the header.
    skip : int
        Bytes before the voxels in their file; -1 counts from its end.
    is_packed, is_text : bool
    segments : tuple of Segment
    scale : tuple of float
        Slope and offset from stored values to intensities.
    modality : Modality or None
        If the header names it.
    notices : tuple of str
    """

    path: Path
    sizes: tuple[int, ...]
    channels: int
    dtype: np.dtype
    affine: NDArray[np.float64]
    data_file: str
    start: int
    skip: int
    is_packed: bool
    is_text: bool
    segments: tuple[Segment, ...]
    scale: tuple[float, float]
    modality: Modality | None
    notices: tuple[str, ...]

    @property
    def voxels(self) -> int:
        return math.prod(self.sizes)

    @property
    def bytes(self) -> int:
        return self.voxels * self.channels * self.dtype.itemsize

    @property
    def has_colour(self) -> bool:
        return self.channels in (3, 4) and self.dtype == np.uint8


def read_metaimage(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read an MHA or MHD file.

    Three or four uint8 channels are colour; of any other channels, and of a
    file with four dimensions, the frame picks one.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, its grid is no grid, or the frame is not in it.
    """
    header = _parse_header(path)
    slabs = math.prod(header.sizes[3:])
    by_channel = header.channels > 1 and not header.has_colour
    count = slabs * (header.channels if by_channel and slabs == 1 else 1)
    frame, notices = choose_frame(path, selection.frame, count)
    slab = 0 if by_channel and slabs == 1 else frame
    array, extra = _read_slab(header, slab, slabs)
    if by_channel and slabs == 1:
        array = np.ascontiguousarray(array[..., frame])
    notices += header.notices + left_over(extra)
    if header.scale != (1.0, 0.0):
        array = rescaled(array, *header.scale)
    source = Source(
        str(path),
        "mha",
        dimensions=2 if len(header.sizes) == 2 else 3,
        names_modality=header.modality is not None,
    )
    volume = make_volume(path, array, header.affine, source, notices)
    if header.modality is not None and not volume.is_colour:
        volume = replace(volume, modality=header.modality)
    return replace(volume, segments=header.segments)


# Header -------------------------------------------------------------------


def _parse_header(path: Path) -> _Header:
    fields, start = _fields(path)
    data_file = fields.get("ElementDataFile")
    if data_file is None or not fields.keys() >= {"NDims", "DimSize", "ElementType"}:
        raise unreadable(
            path, "its header is cut short or not a MetaImage header", COPY_AGAIN
        )
    if fields.get("ObjectType", "Image") != "Image":
        raise unreadable(
            path,
            f"it holds the object '{fields['ObjectType'][:40]}', and no image",
            "Choose an image.",
        )
    sizes = _sizes(path, fields)
    kind = fields["ElementType"].removesuffix("_ARRAY")
    channels = _number(fields.get("ElementNumberOfChannels", "1")) or 0
    if kind not in TYPES or channels != int(channels) or channels < 1:
        raise unreadable(
            path,
            f"its voxels are {int(channels)} x {fields['ElementType']}",
            "Export grey values or 8-bit colour.",
        )
    affine, notices = _affine(path, fields, len(sizes))
    scale, more = _scale(fields)
    order = ">" if _is_true(fields, "ByteOrderMSB") else "<"
    return _Header(
        path=path,
        sizes=sizes,
        channels=int(channels),
        dtype=np.dtype(order + TYPES[kind]),
        affine=affine,
        data_file=data_file,
        start=start,
        skip=_skip(path, fields),
        is_packed=_is_true(fields, "CompressedData"),
        is_text=fields.get("BinaryData", "True").lower() in ("false", "0"),
        segments=segments_of_fields(
            {k: v.encode("latin-1").decode(errors="replace") for k, v in fields.items()}
        ),
        scale=scale,
        modality=MODALITIES.get(fields.get("Modality", "")),
        notices=notices + more,
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header, and where it ends."""
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        while stream.tell() < HEADER_LIMIT:
            line = stream.readline(1 << 16)
            key, found, value = line.decode("latin-1").partition("=")
            if not found:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                break
        return fields, stream.tell()


def _sizes(path: Path, fields: dict[str, str]) -> tuple[int, ...]:
    texts = fields["DimSize"].split()
    whole = all(text.isascii() and text.isdigit() and int(text) > 0 for text in texts)
    if not whole or str(len(texts)) != fields["NDims"] or not 2 <= len(texts) <= 8:
        raise unreadable(
            path,
            f"its header gives {fields['NDims'][:20]} dimensions of the sizes "
            f"'{fields['DimSize'][:80]}'",
            EXPORT_AGAIN,
        )
    return tuple(int(text) for text in texts)


def _skip(path: Path, fields: dict[str, str]) -> int:
    skip = _number(fields.get("HeaderSize", "0"))
    if skip is None or not -1 <= skip < 1 << 40:
        raise unreadable(
            path,
            f"its header gives the HeaderSize '{fields['HeaderSize'][:40]}'",
            EXPORT_AGAIN,
        )
    return int(skip)


def _scale(fields: dict[str, str]) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Return slope and offset of intensities, which ITK leaves out."""
    names = ("Slope", "Offset")
    slope, offset = (
        _number(fields.get(f"ElementToIntensityFunction{name}", "")) for name in names
    )
    scale = slope or 1.0, offset or 0.0
    if scale == (1.0, 0.0):
        return scale, ()
    notice = (
        f"Its intensities are {scale[0]:g} times the stored values, plus {scale[1]:g}."
    )
    return scale, (notice,)


def _affine(
    path: Path, fields: dict[str, str], count: int
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the affine of the first three axes in mm, and notices."""
    spacing = _numbers(path, fields, ("ElementSpacing", "ElementSize"), [1.0] * count)
    for axis, step in zip("xyz", spacing, strict=False):
        if step <= 0:
            raise unreadable(path, f"spacing along {axis} is {step:g} mm", EXPORT_AGAIN)
    origin = _numbers(path, fields, ("Offset", "Position", "Origin"), [0.0] * count)
    names = ("TransformMatrix", "Rotation", "Orientation")
    flat = _numbers(path, fields, names, np.eye(count).ravel().tolist())
    # The file holds a direction per row, ITK's geometry one per column.
    direction = np.reshape(flat, (count, count)).T[:3, :3]
    affine = affine_from_geometry(
        tuple(spacing[:3]), tuple(origin[:3]), tuple(direction.ravel())
    )
    factor = MM_PER_UNIT.get(fields.get("DistanceUnits", "mm").lower(), 1.0)
    affine[:3] *= factor
    notices = unit_notice(factor)
    if not any(fields.get(name) for name in ("ElementSpacing", "ElementSize")):
        notices += (NO_SPACING,)
    return affine, notices


def _numbers(
    path: Path, fields: dict[str, str], names: tuple[str, ...], default: list[float]
) -> list[float]:
    """Return the finite numbers of the first of several fields that is there."""
    name = next((name for name in names if fields.get(name)), None)
    if name is None:
        return default
    found = [_number(word) for word in fields[name].split()]
    numbers = [number for number in found if number is not None]
    if len(numbers) != len(default) or len(found) != len(default):
        raise unreadable(
            path, f"its header gives the {name} '{fields[name][:80]}'", EXPORT_AGAIN
        )
    return numbers


def _is_true(fields: dict[str, str], name: str) -> bool:
    """Tell whether a field, with ElementData or BinaryData before it too, is set."""
    names = (name, f"Element{name}", f"BinaryData{name}")
    return any(fields.get(n, "").lower() in ("true", "1") for n in names)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# Voxels -------------------------------------------------------------------


def _read_slab(header: _Header, slab: int, slabs: int) -> tuple[NDArray, int]:
    """Return one (Z, Y, X) or (Z, Y, X, channels) frame in native byte order.

    And the bytes that follow the voxels.
    """
    extra = 0
    shape = header.sizes[:3][::-1]
    size = header.bytes // slabs
    if header.is_text:
        flat = _text(header)[slab * size // header.dtype.itemsize :]
        array = flat[: size // header.dtype.itemsize]
    else:
        present = sum(file.stat().st_size for file, _ in _parts(header))
        if header.bytes > present * (DEFLATE_LIMIT if header.is_packed else 1):
            missing = header.bytes - present + header.start * _is_local(header)
            raise unreadable(
                header.path,
                f"{missing} of {header.bytes} bytes are missing",
                COPY_AGAIN,
            )
        buffer = np.empty(size, np.uint8)
        extra = _fill(header, slab * size, buffer)
        array = buffer.view(header.dtype)
    array = array.astype(header.dtype.newbyteorder("="), copy=False)
    channels = () if header.channels == 1 else (header.channels,)
    array = array.reshape(*shape, *channels)
    return (array[np.newaxis] if len(header.sizes) == 2 else array), extra


def _is_local(header: _Header) -> bool:
    return header.data_file.upper() == "LOCAL"


def _fill(header: _Header, start: int, buffer: NDArray[np.uint8]) -> int:
    """Fill a buffer with the bytes from `start` on, whatever files hold them.

    Returns
    -------
    int
        Bytes that follow the voxels in the files.
    """
    extra = 0
    parts = list(_parts(header))
    size = header.bytes // len(parts)
    view = buffer.data
    for number, (file, offset) in enumerate(parts):
        # The piece of the buffer that this file holds.
        low = max(0, number * size - start)
        high = min(len(view), (number + 1) * size - start)
        piece = view[low:high] if low < high else view[:0]
        inside = max(0, start - number * size)
        with file.open("rb") as stream:
            if header.is_packed:
                stream.seek(offset)
                try:
                    extra += inflate_into(stream, inside, piece, size)
                except Damaged as error:
                    raise unreadable(
                        header.path, _inside(header, file, str(error)), COPY_AGAIN
                    ) from error
                continue
            if header.skip < 0:
                offset = max(0, file.stat().st_size - size)
            present = file.stat().st_size - offset
            if present < size:
                reason = f"{size - present} of {size} bytes are missing"
                raise unreadable(header.path, _inside(header, file, reason), COPY_AGAIN)
            extra += present - size
            stream.seek(offset + inside)
            stream.readinto(piece)
    return extra


def _inside(header: _Header, file: Path, reason: str) -> str:
    return reason if file == header.path else f"of its data file '{file.name}' {reason}"


def _parts(header: _Header) -> Iterator[tuple[Path, int]]:
    """Return the files that hold the voxels, and where in them they start."""
    skip = max(0, header.skip)
    if _is_local(header):
        yield header.path, header.start + skip
        return
    for name in _names(header):
        yield file_beside(header.path, name), skip


def _names(header: _Header) -> list[str]:
    words = header.data_file.split()
    if words[:1] and words[0].upper() == "LIST":
        with header.path.open("rb") as stream:
            stream.seek(header.start)
            lines = stream.read(HEADER_LIMIT).decode("latin-1").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        together = _number(words[1].rstrip("Dd")) if len(words) > 1 else None
    elif "%" in header.data_file:
        names, together = numbered_names(header.path, words), None
    else:
        return [header.data_file]
    # A file holds one slice, unless the header says how many dimensions.
    dimensions = max(1, int(together)) if together else len(header.sizes) - 1
    wanted = math.prod(header.sizes[dimensions:])
    if len(names) != wanted:
        raise unreadable(
            header.path,
            f"it names {len(names)} data files, but has {wanted} slices",
            EXPORT_AGAIN,
        )
    return names


def _text(header: _Header) -> NDArray:
    """Return voxels that are written as words."""
    parts = []
    for file, offset in _parts(header):
        with file.open("rb") as stream:
            stream.seek(offset)
            parts += stream.read().split()
    wanted = header.voxels * header.channels
    if len(parts) < wanted:
        raise unreadable(
            header.path,
            f"{wanted - len(parts)} of {wanted} values are missing",
            COPY_AGAIN,
        )
    try:
        values = np.array(parts[:wanted], dtype=np.float64)
    except ValueError as error:
        raise unreadable(
            header.path, "its values are no numbers", COPY_AGAIN
        ) from error
    with np.errstate(invalid="ignore", over="ignore"):
        stored = values.astype(header.dtype)
    if header.dtype.kind in "iu" and not np.array_equal(stored, values):
        raise unreadable(
            header.path,
            f"its values do not fit the type {header.dtype.name} that it declares",
            EXPORT_AGAIN,
        )
    return stored


def _header_shape(path: Path) -> Shape:
    header = _parse_header(path)
    x, y, *rest = header.sizes
    return (rest[0] if rest else 1), y, x


METAIMAGE = Format(
    name="mha",
    title="MetaImage",
    suffixes=(".mha", ".mhd"),
    recognises=lambda head: head.lstrip().startswith((b"ObjectType", b"NDims")),
    read=read_metaimage,
    shape=_header_shape,
    written=(".mha", ".mhd"),
    write_labels=write_itk,
    write_image=write_itk,
)
