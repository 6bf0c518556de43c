"""NIfTI: headers through nibabel, voxels in one pass and one copy."""

import gzip
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.cleaning import guess_modality, rescaled
from napari_qmedsam.volumes.files import (
    COPY_AGAIN,
    EXPORT_AGAIN,
    suffix_of,
    unreadable,
)
from napari_qmedsam.volumes.formats import (
    HEAD_BYTES,
    WHOLE,
    Format,
    Selection,
    Shape,
)
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.grid import spacing_from_affine, unit_notice
from napari_qmedsam.volumes.inflating import (
    DEFLATE_LIMIT,
    GZIP_MARK,
    Damaged,
    inflate_into,
    inflated_head,
    left_over,
)
from napari_qmedsam.volumes.nifti_header import (
    PAIRED,
    SINGLE,
    has_negative_lengths,
    header_affine,
    parse_header,
    shape_of,
)
from napari_qmedsam.volumes.nifti_writing import write_nifti
from napari_qmedsam.volumes.segment_fields import TABLE, segments_of_table
from napari_qmedsam.volumes.segments import Segment
from napari_qmedsam.volumes.volume import Source, Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

EXTENSION_LIMIT = 1 << 22
"""Bytes of header extensions that are looked at."""

NO_OFFSET = (
    "The header does not say where its voxels begin; they are taken to follow it."
)
"""What nibabel, too, assumes of single files without an offset."""

NO_ORIENTATION = (
    "The header gives no orientation; slices are taken to be axial with "
    "x running to the patient's left."
)
"""What nibabel, too, assumes when neither sform nor qform is set."""

NEGATIVE_LENGTHS = (
    "Its pixdim holds lengths below 0, which NIfTI does not have; they are taken "
    "without their sign, and other programs may show it with its sides exchanged."
)
"""What nibabel, too, makes of such lengths; ITK mirrors."""


def read_nifti(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read a ``.nii`` or ``.nii.gz`` file.

    The slope and intercept of the header are applied if it has them. Integers
    stay integers where both are whole numbers (a CT stored as 0..4095 with
    intercept -1024 comes out as int16); otherwise the result is floats.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, its grid is no grid, or the frame is not in it.
    """
    header, stored = _header(path)
    shape = shape_of(path, header)
    affine, factor, remarks = header_affine(path, header)
    frame, notices = choose_frame(path, selection.frame, math.prod(shape[3:]))
    voxels, extra = _read_voxels(path, header, shape, frame)
    array, more = _to_array(path, voxels, header)
    notices += remarks + more + left_over(extra)
    if header["vox_offset"] == 0:
        notices += (NO_OFFSET,)
    if header["sform_code"] == 0 and header["qform_code"] == 0:
        notices += (NO_ORIENTATION,)
    if header["sform_code"] == 0 and has_negative_lengths(header, stored):
        notices += (NEGATIVE_LENGTHS,)
    is_packed, is_named_so = _is_packed(path), suffix_of(path) == ".nii.gz"
    if is_packed != is_named_so:
        state = "packed with gzip" if is_packed else "not packed"
        notices += (f"The file is {state}, though it is named {suffix_of(path)}.",)
    notices += unit_notice(factor)
    return Volume(
        array=array,
        spacing_mm=spacing_from_affine(affine),
        affine=affine,
        modality=guess_modality(array),
        source=Source(
            str(path), "nifti", stored, dimensions=2 if header["dim"][0] == 2 else 3
        ),
        notices=notices,
        segments=_segments(path, header),
    )


def _segments(path: Path, header: "Nifti1Header") -> tuple[Segment, ...]:
    """Return the names of labels from the extensions of a header, if it has any."""
    end = min(int(header.get_data_offset()), EXTENSION_LIMIT)
    place = int(header["sizeof_hdr"]) + 4
    if end <= place:
        return ()
    opener = gzip.open if _is_packed(path) else open
    with opener(path, "rb") as stream:
        block = stream.read(end)
    order = header.endianness
    while place + 8 <= len(block):
        size, _ = struct.unpack_from(f"{order}ii", block, place)
        if size < 16:
            break
        content = block[place + 8 : place + size]
        if TABLE in content:
            return segments_of_table(content)
        place += size
    return ()


def _header(path: Path) -> tuple["Nifti1Header", bytes]:
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    block = inflated_head(head, HEAD_BYTES)
    if head.startswith(GZIP_MARK) and not block:
        raise unreadable(path, "the file is damaged or cut short", COPY_AGAIN)
    return parse_header(path, block)


def _is_packed(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(GZIP_MARK)) == GZIP_MARK


def _read_voxels(
    path: Path, header: "Nifti1Header", shape: tuple[int, ...], frame: int
) -> tuple[NDArray, int]:
    """Read one frame as stored, shape (Z, Y, X); and count what follows the frames.

    The file runs fastest along x, which is C order of the transposed shape:
    the bytes need no rearranging.
    """
    dtype = header.get_data_dtype()
    size = math.prod(shape[:3]) * dtype.itemsize
    stated = float(header["vox_offset"])
    if not math.isfinite(stated):
        raise unreadable(path, f"its voxels begin at byte {stated}", EXPORT_AGAIN)
    offset = int(stated or header.single_vox_offset)
    start, end = offset + frame * size, offset + math.prod(shape) * dtype.itemsize
    present, is_packed = path.stat().st_size, _is_packed(path)
    # Checked first: a damaged header can ask for terabytes.
    if offset < 0 or start + size > present * (DEFLATE_LIMIT if is_packed else 1):
        raise unreadable(
            path,
            f"its header needs {start + size} bytes, but the file has {present}",
            COPY_AGAIN,
        )
    buffer = np.empty(size, dtype=np.uint8)
    with path.open("rb") as stream:
        if is_packed:
            try:
                extra = inflate_into(stream, start, buffer.data, end)
            except Damaged as error:
                reason = f"the file is damaged: {error}"
                raise unreadable(path, reason, COPY_AGAIN) from error
        else:
            stream.seek(start)
            stream.readinto(buffer.data)
            extra = present - end
    voxels = buffer.view(dtype).reshape(shape[:3][::-1])
    if not dtype.isnative:
        voxels = voxels.byteswap(inplace=True).view(dtype.newbyteorder())
    return voxels, extra


def _to_array(
    path: Path, voxels: NDArray, header: "Nifti1Header"
) -> tuple[NDArray, tuple[str, ...]]:
    """Turn stored voxels into intensities or colours."""
    from nibabel.spatialimages import HeaderDataError

    if voxels.dtype.names:
        channels = len(voxels.dtype.names)
        colours = voxels.view(np.uint8).reshape(*voxels.shape, channels)
        if channels == 3:
            return colours, ()
        return np.ascontiguousarray(colours[..., :3]), ("Transparency was dropped.",)
    if voxels.dtype.kind not in "iuf":
        raise unreadable(
            path,
            f"its voxels are {voxels.dtype}, not real numbers",
            "Export magnitude images instead.",
        )
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        reason = f"its intercept is {float(header['scl_inter'])}"
        raise unreadable(path, reason, EXPORT_AGAIN) from error
    if slope is None:
        return voxels, ()
    return rescaled(voxels, float(slope), float(intercept or 0.0)), ()


def _header_shape(path: Path) -> Shape:
    header, _ = _header(path)
    x, y, z = shape_of(path, header)[:3]
    return z, y, x


def _is_nifti(head: bytes) -> bool:
    """Tell NIfTI by the letters of its header, through gzip as well."""
    head = inflated_head(head, HEAD_BYTES)
    return head[344:348] in (SINGLE[348], PAIRED[348]) or head[4:8] in (
        SINGLE[540],
        PAIRED[540],
    )


def _is_whole(path: Path) -> bool:
    """Tell a file of its own from half of a pair, which is left to other readers."""
    with path.open("rb") as stream:
        head = inflated_head(stream.read(HEAD_BYTES), HEAD_BYTES)
    return head[344:348] != PAIRED[348] and head[4:8] != PAIRED[540]


NIFTI = Format(
    name="nifti",
    title="NIfTI",
    suffixes=(".nii", ".nii.gz"),
    recognises=_is_nifti,
    holds_volume=_is_whole,
    read=read_nifti,
    shape=_header_shape,
    written=(".nii.gz", ".nii"),
    write_labels=write_nifti,
    write_image=write_nifti,
)
