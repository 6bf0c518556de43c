"""MetaImage: MHA and MHD files."""

import math
from pathlib import Path

from napari_qmedsam.volumes.files import COPY_AGAIN, EXPORT_AGAIN, unreadable
from napari_qmedsam.volumes.formats import WHOLE, Format, Selection, Shape
from napari_qmedsam.volumes.itk import itk_shape, read_itk, write_itk
from napari_qmedsam.volumes.volume import Volume

IMAGE_IO = "MetaImageIO"
"""ITK's reader; naming it keeps ITK from trying all the others."""

REQUIRED = {"NDims", "DimSize", "ElementType"}
"""Fields without which there is no MetaImage."""

ELEMENT_BYTES = {
    "CHAR": 1,
    "SHORT": 2,
    "INT": 4,
    "LONG": 4,
    "LONG_LONG": 8,
    "FLOAT": 4,
    "DOUBLE": 8,
}
"""Bytes per number of MetaImage's element types, without MET_ and unsigned."""


def read_metaimage(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read an MHA or MHD file, once its voxels are known to be all there.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, its grid is no grid, or the frame is not in it.
    """
    _check_metaimage(path)
    return read_itk(path, IMAGE_IO, "mha", selection)


def _check_metaimage(path: Path) -> None:
    """Check a MetaImage header, and that its voxels are all there.

    ITK's parser prints to stderr before it fails, and its error does not say
    what is missing.
    """
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        for _ in range(200):
            line = stream.readline(4096)
            key, found, value = line.decode("latin-1").partition("=")
            if not found:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                break
        start = stream.tell()
    data_file = fields.get("ElementDataFile")
    if data_file is None or not fields.keys() >= REQUIRED:
        raise unreadable(
            path, "its header is cut short or not a MetaImage header", COPY_AGAIN
        )
    for axis, step in zip(
        "xyz", fields.get("ElementSpacing", "").split(), strict=False
    ):
        if _number(step) == 0:
            raise unreadable(path, f"spacing along {axis} is 0 mm", EXPORT_AGAIN)
    if data_file.upper().startswith("LIST") or "%" in data_file:
        return
    if data_file.upper() == "LOCAL":
        present = path.stat().st_size - start
    else:
        beside = path.parent / data_file
        if not beside.is_file():
            raise unreadable(
                path,
                f"its data file '{data_file}' is missing",
                "Keep both files in one folder.",
            )
        present = beside.stat().st_size
    needed = _metaimage_bytes(fields)
    if needed is not None and present < needed:
        raise unreadable(
            path, f"{needed - present} of {needed} bytes are missing", COPY_AGAIN
        )


def _metaimage_bytes(fields: dict[str, str]) -> int | None:
    """Return how many bytes of voxels a header promises; None if unknown."""
    if fields.get("CompressedData", "False").lower() == "true":
        size = _number(fields.get("CompressedDataSize", ""))
        return None if size is None else int(size)
    name = fields.get("ElementType", "").removeprefix("MET_").replace("UCHAR", "CHAR")
    name = name.removesuffix("_ARRAY")
    width = ELEMENT_BYTES.get(name) or ELEMENT_BYTES.get(name.removeprefix("U"))
    sizes = [_number(n) for n in fields["DimSize"].split()]
    channels = _number(fields.get("ElementNumberOfChannels", "1"))
    if width is None or channels is None or None in sizes:
        return None
    return int(width * channels * math.prod(n for n in sizes if n is not None))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _header_shape(path: Path) -> Shape:
    _check_metaimage(path)
    return itk_shape(path, IMAGE_IO)


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
