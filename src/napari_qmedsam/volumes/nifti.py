"""NIfTI: headers through nibabel, voxels in one pass and one copy."""

import gzip
import logging
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.cleaning import as_float32, guess_modality
from napari_qmedsam.volumes.files import suffix_of, unreadable
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.grid import bad_spacing, spacing_from_affine
from napari_qmedsam.volumes.volume import Source, Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

logger = logging.getLogger(__name__)

HEADER_BYTES = {348: "Nifti1Header", 540: "Nifti2Header"}
"""Header length, which is also its first field, and nibabel's class."""

MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
"""NIfTI's codes for metre, mm and micron; files without a unit mean mm."""

EXPORT_AGAIN = "Re-export it with a valid header."
COPY_AGAIN = "Copy or export it again."

NO_ORIENTATION = (
    "The header gives no orientation; slices are taken to be axial with "
    "x running to the patient's left."
)
"""What nibabel, too, assumes when neither sform nor qform is set."""

CHUNK = 1 << 22
"""Bytes read at a time, so that unpacking needs no second copy."""

DEFLATE_LIMIT = 1032
"""No gzip file unpacks to more than about this many times its size."""


def read_nifti(path: Path, frame: int | None = None) -> Volume:
    """Read a ``.nii`` or ``.nii.gz`` file.

    The slope and intercept of the header are applied if it has them. Integers
    stay integers where both are whole numbers (a CT stored as 0..4095 with
    intercept -1024 comes out as int16); otherwise the result is float32.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, its grid is no grid, or `frame` is not in it.
    """
    try:
        with _open(path) as stream:
            block = stream.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error
    header, stored = _parse_header(path, block)
    affine, factor = _affine(path, header)
    shape = _shape(path, header)
    frame, notices = choose_frame(path, frame, math.prod(shape[3:]))
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


def _open(path: Path) -> Any:
    opener = gzip.open if suffix_of(path) == ".nii.gz" else open
    return opener(path, "rb")


def _damaged(path: Path, error: BaseException) -> Exception:
    logger.debug("%s: %s", path, error)
    return unreadable(path, "the file is damaged or cut short", COPY_AGAIN)


def _parse_header(path: Path, block: bytes) -> tuple["Nifti1Header", bytes]:
    """Return the checked header, and its bytes as stored."""
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError

    sizes = {struct.unpack(order + "i", block[:4].ljust(4, b"\0"))[0] for order in "<>"}
    size = next((n for n in HEADER_BYTES if n in sizes), None)
    marks = (b"n+1\0",) if size == 348 else (b"n+2\0",)
    start = 344 if size == 348 else 4
    if size is None or block[start : start + 4] not in marks or len(block) < size:
        raise unreadable(path, "it is not a NIfTI file", "Check what it holds.")
    stored = block[:size]
    header = getattr(nib, HEADER_BYTES[size])(stored, check=False)
    # nibabel would quietly make 1 mm of a spacing of 0, so this comes first.
    pixdim, dim = header["pixdim"][1:4], header["dim"]
    for axis, step, count in zip("xyz", pixdim, dim[1:4], strict=True):
        in_use = "xyz".index(axis) < dim[0] and count > 1
        if in_use and (step == 0 or not np.isfinite(step)):
            raise unreadable(path, f"spacing along {axis} is {step:g} mm", EXPORT_AGAIN)
    try:
        with quiet_nibabel():
            header.check_fix(error_level=40)
    except (HeaderDataError, ValueError) as error:
        raise unreadable(path, f"its header is invalid ({error})", EXPORT_AGAIN) from (
            error
        )
    return header, stored


def mm_per_unit(header: "Nifti1Header") -> float:
    """Return the mm in one unit of length of a header."""
    # The lower three bits; the rest is the unit of time.
    return MM_PER_UNIT.get(int(header["xyzt_units"]) % 8, 1.0)


def _affine(path: Path, header: "Nifti1Header") -> tuple[NDArray[np.float64], float]:
    """Return the affine in mm, and the mm per unit of the header."""
    from nibabel.spatialimages import HeaderDataError

    try:
        affine = np.array(header.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise unreadable(
            path, f"its orientation is invalid ({error})", EXPORT_AGAIN
        ) from error
    factor = mm_per_unit(header)
    affine[:3] *= factor
    reason = bad_spacing(affine)
    if reason is not None:
        raise unreadable(path, reason, EXPORT_AGAIN)
    return affine, factor


def _shape(path: Path, header: "Nifti1Header") -> tuple[int, ...]:
    shape = tuple(int(n) for n in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise unreadable(path, f"its header gives the shape {shape}", EXPORT_AGAIN)
    return shape + (1,) * (3 - len(shape))


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
    if slope is None or (slope, intercept) == (1.0, 0.0):
        return as_float32(voxels), ()
    return _rescale(voxels, float(slope), float(intercept or 0.0)), ()


def _rescale(voxels: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Apply slope and intercept; whole numbers stay whole where they can."""
    if voxels.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        low, high = int(voxels.min()), int(voxels.max())
        ends = [low, high, low * int(slope), high * int(slope)]
        ends += [end + int(intercept) for end in ends[2:]]
        ends += [int(slope), int(intercept)]
        for dtype in (np.uint8, np.int16, np.uint16, np.int32):
            # Every step must fit, not just the result.
            span = np.iinfo(dtype)
            if span.min <= min(ends) and max(ends) <= span.max:
                return _scale_in_place(voxels.astype(dtype), slope, intercept)
    return _scale_in_place(voxels.astype(np.float32), slope, intercept)


def _scale_in_place(array: NDArray, slope: float, intercept: float) -> NDArray:
    """Multiply and add in the type of the array, without a second copy."""
    np.multiply(array, array.dtype.type(slope), out=array)
    np.add(array, array.dtype.type(intercept), out=array)
    return array


@contextmanager
def quiet_nibabel() -> Iterator[None]:
    """Keep nibabel from writing header remarks to stderr; ours say it once."""
    from nibabel import imageglobals

    with imageglobals.LoggingOutputSuppressor():
        yield
