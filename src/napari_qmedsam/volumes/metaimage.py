"""MetaImage: MHA and MHD files.

They are read here and not by ITK, which prints "Uncompress failed" for damaged
voxels, or a list with too few files, and hands out memory that nobody filled.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.cleaning import rescaled
from napari_qmedsam.volumes.files import (
    COPY_AGAIN,
    EXPORT_AGAIN,
    file_beside,
    listed_names,
    numbered_names,
    unreadable,
)
from napari_qmedsam.volumes.formats import WHOLE, Format, Selection, Shape
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.inflating import (
    DEFLATE_LIMIT,
    Damaged,
    inflate_into,
    left_over,
)
from napari_qmedsam.volumes.itk import make_volume, write_itk
from napari_qmedsam.volumes.metaimage_header import (
    HEADER_LIMIT,
    MetaImageHeader,
    finite_number,
    read_metaimage_header,
)
from napari_qmedsam.volumes.volume import Source, Volume


def read_metaimage(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read an MHA or MHD file.

    Three or four uint8 channels are colour; of any other channels, and of a
    file with four dimensions, the frame picks one.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, its grid is no grid, or the frame is not in it.
    """
    header = read_metaimage_header(path)
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


# Voxels -------------------------------------------------------------------


def _read_slab(header: MetaImageHeader, slab: int, slabs: int) -> tuple[NDArray, int]:
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


def _is_local(header: MetaImageHeader) -> bool:
    return header.data_file.upper() == "LOCAL"


def _fill(header: MetaImageHeader, start: int, buffer: NDArray[np.uint8]) -> int:
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


def _inside(header: MetaImageHeader, file: Path, reason: str) -> str:
    return reason if file == header.path else f"of its data file '{file.name}' {reason}"


def _parts(header: MetaImageHeader) -> Iterator[tuple[Path, int]]:
    """Return the files that hold the voxels, and where in them they start."""
    skip = max(0, header.skip)
    if _is_local(header):
        yield header.path, header.start + skip
        return
    for name in _names(header):
        yield file_beside(header.path, name), skip


def _names(header: MetaImageHeader) -> list[str]:
    words = header.data_file.split()
    if words[:1] and words[0].upper() == "LIST":
        names = listed_names(header.path, header.start, HEADER_LIMIT)
        together = finite_number(words[1].rstrip("Dd")) if len(words) > 1 else None
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


def _text(header: MetaImageHeader) -> NDArray:
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
    header = read_metaimage_header(path)
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
