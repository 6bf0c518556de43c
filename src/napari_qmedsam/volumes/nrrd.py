"""NRRD files, attached and detached.

ITK reads them once the header is known to be kept by the data: it accepts
gzip streams with a wrong checksum.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.files import COPY_AGAIN, EXPORT_AGAIN, unreadable
from napari_qmedsam.volumes.formats import WHOLE, Format, Selection, Shape
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.grid import affine_from_geometry
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
from napari_qmedsam.volumes.nrrd_header import (
    TYPES,
    VECTORS,
    NrrdHeader,
    after_lines,
    assumptions,
    data_parts,
    declared_bytes,
    read_nrrd_header,
    skip_of,
    unit_of,
)
from napari_qmedsam.volumes.segment_fields import segments_of_fields
from napari_qmedsam.volumes.volume import Source, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

IMAGE_IO = "NrrdImageIO"
"""ITK's name for its reader."""


GZIP = ("gzip", "gz")
TEXT = ("text", "txt", "ascii", "hex")
COLOURS = ("RGB-color", "RGBA-color", "3-color", "4-color", "vector")
"""Kinds of an axis of three or four bytes that make a colour."""


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

    header = read_nrrd_header(path)
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
    factor, remarks = unit_of(header)
    affine[:3] *= factor
    notices += remarks + assumptions(header) + left_over(extra)
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


def _check_data(header: NrrdHeader) -> int:
    """See that what the header declares is there, whole and undamaged.

    Returns
    -------
    int
        Bytes that follow the voxels.
    """
    needed = declared_bytes(header)
    _check_fields(header)
    lines, skipped = (skip_of(header, name) for name in ("line", "byte"))
    parts = list(data_parts(header))
    share = needed // len(parts)
    return sum(
        _check_part(header, file, after_lines(file, start, lines), share, skipped)
        for file, start in parts
    )


def _check_fields(header: NrrdHeader) -> None:
    """Refuse what ITK's reader would crash on, or take for something else."""
    path = header.path
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
    has_order = header.encoding in TEXT or header.get("endian")
    if not has_order and TYPES[header.get("type").lower()] > 1:
        raise unreadable(
            path, "its header does not give the byte order (endian)", EXPORT_AGAIN
        )


def _check_part(
    header: NrrdHeader, file: Path, start: int, share: int, skipped: int
) -> int:
    """See that a file holds its share of the bytes; return those that follow them."""
    path, extra = header.path, 0
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
                extra = inflate_into(stream, 0, memoryview(bytearray()), declared)
            except Damaged as error:
                raise unreadable(path, f"{beside}{error}", COPY_AGAIN) from error
    elif header.encoding == "raw" and present < share:
        missing = f"{share - present} of {share} bytes are missing"
        raise unreadable(path, f"{beside}{missing}", COPY_AGAIN)
    elif header.encoding == "raw" and present > share and skipped >= 0:
        extra = present - share
        with file.open("rb") as stream:
            stream.seek(start)
            is_packed = stream.read(3) == GZIP_MARK + b"\x08"
        if is_packed:
            reason = "data are packed with gzip, but its header says raw"
            raise unreadable(path, f"{beside or 'its '}{reason}", EXPORT_AGAIN)
    elif header.encoding in TEXT and 2 * present + 1 < share // 8:
        raise unreadable(path, f"{beside}its values are cut short", COPY_AGAIN)
    return extra


def _header_shape(path: Path) -> Shape:
    declared_bytes(read_nrrd_header(path))
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
