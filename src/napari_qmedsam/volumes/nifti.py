"""NIfTI: headers through nibabel, voxels in one pass and one copy."""

import gzip
import logging
import math
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.cleaning import as_float32, guess_modality, rescaled
from napari_qmedsam.volumes.files import (
    COPY_AGAIN,
    suffix_of,
    unreadable,
)
from napari_qmedsam.volumes.formats import WHOLE, Format, Selection, Shape
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.grid import spacing_from_affine
from napari_qmedsam.volumes.nifti_header import affine_of, parse_header, shape_of
from napari_qmedsam.volumes.nifti_writing import write_nifti
from napari_qmedsam.volumes.volume import Source, Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

logger = logging.getLogger(__name__)

NO_ORIENTATION = (
    "The header gives no orientation; slices are taken to be axial with "
    "x running to the patient's left."
)
"""What nibabel, too, assumes when neither sform nor qform is set."""

CHUNK = 1 << 22
"""Bytes read at a time, so that unpacking needs no second copy."""

GZIP_MARK = b"\x1f\x8b"
"""How gzip files begin."""

DEFLATE_LIMIT = 1032
"""No gzip file unpacks to more than about this many times its size."""


def read_nifti(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read a ``.nii`` or ``.nii.gz`` file.

    The slope and intercept of the header are applied if it has them. Integers
    stay integers where both are whole numbers (a CT stored as 0..4095 with
    intercept -1024 comes out as int16); otherwise the result is float32.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, its grid is no grid, or the frame is not in it.
    """
    header, stored = _header(path)
    affine, factor = affine_of(path, header)
    shape = shape_of(path, header)
    frame, notices = choose_frame(path, selection.frame, math.prod(shape[3:]))
    try:
        voxels = _read_voxels(path, header, shape[:3], frame)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error

    array, more = _to_array(path, voxels, header)
    notices += more
    if header["sform_code"] == 0 and header["qform_code"] == 0:
        notices += (NO_ORIENTATION,)
    if factor != 1.0:
        notices += (f"Lengths stored in units of {factor:g} mm were converted.",)
    return Volume(
        array=array,
        spacing_mm=spacing_from_affine(affine),
        affine=affine,
        modality=guess_modality(array),
        source=Source(
            str(path), "nifti", stored, dimensions=2 if header["dim"][0] == 2 else 3
        ),
        notices=notices,
    )


def _header(path: Path) -> tuple["Nifti1Header", bytes]:
    try:
        with _open(path) as stream:
            block = stream.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error
    return parse_header(path, block)


def _open(path: Path) -> Any:
    opener = gzip.open if suffix_of(path) == ".nii.gz" else open
    return opener(path, "rb")


def _damaged(path: Path, error: BaseException) -> Exception:
    logger.debug("%s: %s", path, error)
    return unreadable(path, "the file is damaged or cut short", COPY_AGAIN)


def _read_voxels(
    path: Path, header: "Nifti1Header", shape: tuple[int, ...], frame: int
) -> NDArray:
    """Read one frame as stored, shape (Z, Y, X).

    The file runs fastest along x, which is C order of the transposed shape:
    the bytes need no rearranging.
    """
    dtype = header.get_data_dtype()
    size = math.prod(shape) * dtype.itemsize
    start = int(header.get_data_offset()) + frame * size
    packed = path.stat().st_size
    limit = packed * (DEFLATE_LIMIT if suffix_of(path) == ".nii.gz" else 1)
    # Checked first: a damaged header can ask for terabytes.
    if start + size > limit:
        raise unreadable(
            path,
            f"its header needs {start + size} bytes, but the file has {packed}",
            COPY_AGAIN,
        )
    buffer = np.empty(size, dtype=np.uint8)
    with _open(path) as stream:
        stream.seek(start)
        got = _fill(stream, buffer.data)
    if got < size:
        raise unreadable(path, f"{size - got} of {size} bytes are missing", COPY_AGAIN)
    voxels = buffer.view(dtype).reshape(shape[::-1])
    if not dtype.isnative:
        voxels = voxels.byteswap(inplace=True).view(dtype.newbyteorder())
    return voxels


def _fill(stream: BinaryIO, view: memoryview) -> int:
    done = 0
    while done < len(view):
        got = stream.readinto(view[done : done + CHUNK])  # type: ignore[attr-defined]
        if not got:
            break
        done += got
    return done


def _to_array(
    path: Path, voxels: NDArray, header: "Nifti1Header"
) -> tuple[NDArray, tuple[str, ...]]:
    """Turn stored voxels into intensities or colours."""
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
    slope, intercept = header.get_slope_inter()
    if slope is None:
        return as_float32(voxels), ()
    return as_float32(rescaled(voxels, float(slope), float(intercept or 0.0))), ()


def _header_shape(path: Path) -> Shape:
    header, _ = _header(path)
    x, y, z = shape_of(path, header)[:3]
    return z, y, x


def _is_nifti(head: bytes) -> bool:
    """Tell NIfTI by the letters of its header, through gzip as well."""
    if head.startswith(GZIP_MARK):
        with suppress(zlib.error):
            head = zlib.decompressobj(31).decompress(head, 540)
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


NIFTI = Format(
    name="nifti",
    title="NIfTI",
    suffixes=(".nii", ".nii.gz"),
    recognises=_is_nifti,
    read=read_nifti,
    shape=_header_shape,
    written=(".nii.gz", ".nii"),
    write_labels=write_nifti,
    write_image=write_nifti,
)
