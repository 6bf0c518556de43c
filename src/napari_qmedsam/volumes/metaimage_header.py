"""The header of a MetaImage file."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.files import (
    COPY_AGAIN,
    EXPORT_AGAIN,
    axis_sizes,
    unreadable,
)
from napari_qmedsam.volumes.grid import (
    MM_PER_UNIT,
    NO_SPACING,
    affine_from_geometry,
    unit_notice,
)
from napari_qmedsam.volumes.segment_fields import segments_of_fields
from napari_qmedsam.volumes.segments import Segment
from napari_qmedsam.volumes.volume import Modality

HEADER_LIMIT = 1 << 24
"""Bytes of header lines; ultrasound sweeps name thousands of frames."""

BYTE_ORDERS = ("ByteOrderMSB", "ElementByteOrderMSB", "BinaryDataByteOrderMSB")
"""Fields that tell whether the first byte of a number is the most significant."""

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
class MetaImageHeader:
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
        """All of them."""
        return math.prod(self.sizes)

    @property
    def bytes(self) -> int:
        """What they take when unpacked."""
        return self.voxels * self.channels * self.dtype.itemsize

    @property
    def has_colour(self) -> bool:
        """Whether channels are red, green and blue, and perhaps transparency."""
        return self.channels in (3, 4) and self.dtype == np.uint8


def read_metaimage_header(path: Path) -> MetaImageHeader:
    """Read a header, or refuse it.

    Raises
    ------
    UnreadableVolume
    """
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
    sizes = axis_sizes(path, fields["DimSize"], fields["NDims"])
    kind = fields["ElementType"].removesuffix("_ARRAY")
    channels = finite_number(fields.get("ElementNumberOfChannels", "1")) or 0
    if kind not in TYPES or channels != int(channels) or channels < 1:
        raise unreadable(
            path,
            f"its voxels are {int(channels)} x {fields['ElementType']}",
            "Export grey values or 8-bit colour.",
        )
    affine, notices = _affine(path, fields, len(sizes))
    scale, more = _scale(fields)
    order = ">" if _is_true(fields, "ByteOrderMSB") else "<"
    stated = {v.lower() in ("true", "1") for k, v in fields.items() if k in BYTE_ORDERS}
    if len(stated) > 1:
        raise unreadable(path, "its header gives two byte orders", EXPORT_AGAIN)
    return MetaImageHeader(
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


def _skip(path: Path, fields: dict[str, str]) -> int:
    skip = finite_number(fields.get("HeaderSize", "0"))
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
        finite_number(fields.get(f"ElementToIntensityFunction{name}", ""))
        for name in names
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
    found = [finite_number(word) for word in fields[name].split()]
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


def finite_number(text: str) -> float | None:
    """Return what a word says; None where it is no finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
