"""NIfTI headers, through nibabel: checked, with affine and shape."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.contents import foreign_contents
from napari_qmedsam.volumes.files import EXPORT_AGAIN, unreadable
from napari_qmedsam.volumes.grid import bad_spacing

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

HEADER_BYTES = {348: "Nifti1Header", 540: "Nifti2Header"}
"""Header length, which is also its first field, and nibabel's class."""

MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
"""NIfTI's codes for metre, mm and micron; files without a unit mean mm."""


def parse_header(path: Path, block: bytes) -> tuple["Nifti1Header", bytes]:
    """Return the checked header, and its bytes as stored."""
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError

    sizes = {struct.unpack(order + "i", block[:4].ljust(4, b"\0"))[0] for order in "<>"}
    size = next((n for n in HEADER_BYTES if n in sizes), None)
    marks = (b"n+1\0",) if size == 348 else (b"n+2\0",)
    start = 344 if size == 348 else 4
    if size == 348 and block[start : start + 4] == b"ni1\0":
        raise unreadable(
            path, "it is half of a pair of .hdr and .img", "Save it as one .nii file."
        )
    if size is None or block[start : start + 4] not in marks or len(block) < size:
        found = foreign_contents(block)
        raise unreadable(
            path,
            f"it is {found.what if found else 'not a NIfTI file'}",
            (found.advice if found else "") or "Check what it holds.",
        )
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


def header_affine(
    path: Path, header: "Nifti1Header"
) -> tuple[NDArray[np.float64], float, tuple[str, ...]]:
    """Return the affine in mm, the mm per unit of the header, and notices.

    The sform goes before the qform, unless it is no grid.
    """
    from nibabel.spatialimages import HeaderDataError

    notices: tuple[str, ...] = ()
    try:
        affine = np.array(header.get_best_affine(), dtype=np.float64)
        reason = bad_spacing(affine)
        if reason is not None and header["sform_code"] > 0 < header["qform_code"]:
            turned = np.array(header.get_qform(), dtype=np.float64)
            if bad_spacing(turned) is None:
                notices = (f"The sform is no grid ({reason}); the qform is used.",)
                affine, reason = turned, None
    except (HeaderDataError, ValueError) as error:
        raise unreadable(
            path, f"its orientation is invalid ({error})", EXPORT_AGAIN
        ) from error
    if reason is not None:
        raise unreadable(path, reason, EXPORT_AGAIN)
    factor = mm_per_unit(header)
    affine[:3] *= factor
    return affine, factor, notices


def shape_of(path: Path, header: "Nifti1Header") -> tuple[int, ...]:
    """Return (x, y, z) and, in a file with frames, their counts."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise unreadable(path, f"its header gives the shape {shape}", EXPORT_AGAIN)
    return shape + (1,) * (3 - len(shape))


@contextmanager
def quiet_nibabel() -> Iterator[None]:
    """Keep nibabel from writing header remarks to stderr; ours say it once."""
    from nibabel import imageglobals

    with imageglobals.LoggingOutputSuppressor():
        yield
