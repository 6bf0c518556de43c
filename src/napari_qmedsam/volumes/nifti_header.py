"""NIfTI headers, through nibabel: checked, with affine and shape."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.contents import foreign_contents
from napari_qmedsam.volumes.files import COPY_AGAIN, EXPORT_AGAIN, unreadable
from napari_qmedsam.volumes.grid import bad_spacing

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

HEADER_BYTES = {348: "Nifti1Header", 540: "Nifti2Header"}
"""Header length, which is also its first field, and nibabel's class."""

SINGLE = {348: b"n+1\0", 540: b"n+2\0"}
PAIRED = {348: b"ni1\0", 540: b"ni2\0"}
"""Marks of files of their own, and of halves of a pair, by header length."""

MATRICES = range(3000, 3100)
"""Intents of CIFTI files: tables of surface points, which are no volumes."""

FORMS_TOLERANCE = 0.5
"""Voxels by which the two orientations of a header may differ unsaid."""

MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
"""NIfTI's codes for metre, mm and micron; files without a unit mean mm."""


def parse_header(path: Path, block: bytes) -> tuple["Nifti1Header", bytes]:
    """Return the checked header, and its bytes as stored."""
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError

    first = block[:4].ljust(4, b"\0")
    sizes = {struct.unpack(order + "i", first)[0]: order for order in "<>"}
    size = next((n for n in HEADER_BYTES if n in sizes), None)
    start = 344 if size == 348 else 4
    mark = block[start : start + 4]
    if size is not None and mark == PAIRED[size]:
        raise unreadable(
            path, "it is half of a pair of .hdr and .img", "Save it as one .nii file."
        )
    if size is not None and len(block) < size:
        raise unreadable(path, "its header is cut short", COPY_AGAIN)
    if size is None or mark != SINGLE[size]:
        found = foreign_contents(block)
        raise unreadable(
            path,
            f"it is {found.what if found else 'not a NIfTI file'}",
            (found.advice if found else "") or "Check what it holds.",
        )
    stored = block[:size]
    kind = getattr(nib, HEADER_BYTES[size])
    # Said here, as nibabel else guesses it, from the number of dimensions.
    header = kind(stored, endianness=sizes[size], check=False)
    if not 1 <= header["dim"][0] <= 7:
        raise unreadable(
            path, f"its header gives {header['dim'][0]} dimensions", EXPORT_AGAIN
        )
    if int(header["intent_code"]) in MATRICES:
        raise unreadable(
            path, "it is a CIFTI file, which holds no volume", "Choose a volume."
        )
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


def has_negative_lengths(header: "Nifti1Header", stored: bytes) -> bool:
    """Tell whether lengths below 0 are stored, whose signs nibabel leaves out."""
    as_stored = type(header)(stored, endianness=header.endianness, check=False)
    return bool((as_stored["pixdim"][1:4] < 0).any())


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
        if header["sform_code"] > 0:
            affine, notices = _sform_or_other(header, affine)
            reason = bad_spacing(affine)
    except (HeaderDataError, ValueError) as error:
        raise unreadable(
            path, f"its orientation is invalid ({error})", EXPORT_AGAIN
        ) from error
    if reason is not None:
        raise unreadable(path, reason, EXPORT_AGAIN)
    factor = mm_per_unit(header)
    affine[:3] *= factor
    return affine, factor, notices


def _sform_or_other(
    header: "Nifti1Header", affine: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the sform, or what stands in where it is no grid; and what differs.

    Raises
    ------
    HeaderDataError, ValueError
        If another is needed, and is invalid too.
    """
    from nibabel.spatialimages import HeaderDataError

    reason, other = bad_spacing(affine), "qform"
    try:
        second = np.array(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        if reason is not None:
            raise
        return affine, ()
    if header["qform_code"] == 0:
        # Lengths alone: the directions of the sform stand for themselves.
        second, other = np.array(header.get_base_affine(), dtype=np.float64), "pixdim"
    if reason is not None:
        # Without a qform only an sform that was never set may be done without.
        is_unset = other == "qform" or not affine[:3, :3].any()
        if not is_unset or bad_spacing(second) is not None:
            return affine, ()
        return second, (f"The sform is no grid ({reason}); the {other} is used.",)
    if other == "pixdim":
        steps, pixdim = (
            np.linalg.norm(each[:3, :3], axis=0) for each in (affine, second)
        )
        if np.allclose(steps, pixdim, rtol=0.01):
            return affine, ()
        own, stored = (" x ".join(f"{n:.4g}" for n in each) for each in (steps, pixdim))
        notice = (
            f"The sform has voxels of {own} (x, y, z), but pixdim of {stored}; the "
            "sform is used."
        )
        return affine, (notice,)
    ends = [n - 1 for n in (*header.get_data_shape(), 1, 1, 1)[:3]]
    corners = np.array([(*end, 1) for end in product(*((0, end) for end in ends))])
    apart = float(np.linalg.norm((corners @ (affine - second).T)[:, :3], axis=1).max())
    if apart <= FORMS_TOLERANCE * min(np.linalg.norm(affine[:3, :3], axis=0)):
        return affine, ()
    apart *= mm_per_unit(header)
    notice = (
        f"The sform and the qform differ by up to {apart:.4g} mm; the sform is used."
    )
    return affine, (notice,)


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
