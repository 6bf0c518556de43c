"""SimpleITK: files through its readers, and images from and to volumes."""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.cleaning import guess_modality
from napari_qmedsam.volumes.files import (
    COPY_AGAIN,
    EXPORT_AGAIN,
    suffix_of,
    unreadable,
)
from napari_qmedsam.volumes.grid import (
    bad_spacing,
    geometry_from_affine,
    spacing_from_affine,
)
from napari_qmedsam.volumes.segment_fields import slicer_fields
from napari_qmedsam.volumes.volume import Source, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

logger = logging.getLogger(__name__)

PAIRED = (".mhd", ".nhdr")
"""Suffixes of headers whose voxels are in a file of their own."""

DATA_LINE = re.compile(
    rb"^((?:ElementDataFile *=|data file:) *(?:\./)?)([^\r\n]+)", re.M
)
"""The line of such a header that names the file."""

HEADER_LIMIT = 1 << 20
"""Bytes of a header that are searched for it."""


def open_itk(path: Path, image_io: str) -> "sitk.ImageFileReader":
    """Return one of ITK's readers that has read the header of a file.

    Raises
    ------
    UnreadableVolume
        If it is damaged.
    """
    import SimpleITK as sitk

    _check_utf8(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    # Naming it keeps ITK from trying all the others.
    reader.SetImageIO(image_io)
    with quiet_itk():
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise explain_itk(path, error) from error
    return reader


def make_volume(
    path: Path,
    array: NDArray,
    affine: NDArray[np.float64],
    source: Source,
    notices: tuple[str, ...] = (),
) -> Volume:
    """Return a volume of grey values (Z, Y, X), or colours (Z, Y, X, 3 or 4).

    Raises
    ------
    UnreadableVolume
        If the voxels are not real numbers or 8-bit colours, or the affine
        does not make a grid.
    """
    if array.dtype.kind not in "iuf":
        raise unreadable(
            path,
            f"its voxels are {array.dtype}, not real numbers",
            "Export magnitude images instead.",
        )
    components = array.shape[3] if array.ndim == 4 else 1
    if components == 4 and array.dtype == np.uint8:
        array = np.ascontiguousarray(array[..., :3])
        notices += ("Transparency was dropped.",)
    elif components > 1 and (components != 3 or array.dtype != np.uint8):
        raise unreadable(
            path,
            f"each voxel holds {components} values of type {array.dtype}",
            "Export grey values or 8-bit colour.",
        )
    reason = bad_spacing(affine)
    if reason is not None:
        raise unreadable(path, reason, EXPORT_AGAIN)
    return Volume(
        array=array,
        spacing_mm=spacing_from_affine(affine),
        affine=affine,
        modality=guess_modality(array),
        source=source,
        notices=notices,
    )


def image_from_array(array: NDArray, affine: NDArray[np.float64]) -> "sitk.Image":
    """Return a SimpleITK image with the place of a RAS affine.

    Parameters
    ----------
    array : ndarray, (Z, Y, X) or (Z, Y, X, 3)
        float16 and bool, which ITK lacks, become float32 and uint8.
    affine : ndarray, (4, 4)
    """
    import SimpleITK as sitk

    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    image = sitk.GetImageFromArray(as_float32_if_half(array), isVector=array.ndim == 4)
    spacing, origin, direction = geometry_from_affine(affine)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def as_float32_if_half(array: NDArray) -> NDArray:
    """Return float16 as float32, everything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def text_fields(reader: "sitk.ImageFileReader") -> dict[str, str]:
    """Return the header fields that ITK kept of a file whose header was read."""
    fields = {}
    for key in reader.GetMetaDataKeys():
        try:
            fields[key] = reader.GetMetaData(key)
        except (UnicodeDecodeError, TypeError):  # in its value, or in its name
            logger.debug("The field %r is not UTF-8.", key)
    return fields


def write_itk(array: NDArray, like: Volume, path: Path) -> None:
    """Write an array on the grid of `like` as NRRD, MHA or MHD, compressed.

    The segments of `like`, which labels have, go into the header.
    """
    import SimpleITK as sitk

    _check_utf8(path)
    image = image_from_array(array, like.affine)
    if like.source.dimensions == 2 and like.shape[0] == 1:
        image = image[:, :, 0]
    for key, value in slicer_fields(like.segments, array):
        image.SetMetaData(key, value)
    with quiet_itk():
        try:
            sitk.WriteImage(image, str(path), True)
        except RuntimeError as error:
            raise OSError(_last_line(error)) from error
    data = [other for other in path.parent.iterdir() if other != path]
    if suffix_of(path) in PAIRED and len(data) == 1:
        _name_by_content(path, data[0])


def paired_data(header: Path) -> Path | None:
    """Return the data file of a header that :func:`write_itk` wrote, if it is there."""
    if suffix_of(header) not in PAIRED or not header.is_file():
        return None
    with header.open("rb") as stream:
        line = DATA_LINE.search(stream.read(HEADER_LIMIT))
    name = line[2].decode(errors="replace") if line else ""
    is_ours = re.fullmatch(re.escape(header.stem) + r"-[0-9a-f]{8}\.[a-z.]+", name)
    data = header.with_name(name) if is_ours else None
    return data if data is not None and data.is_file() else None


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK from printing warnings that our notices put better."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


# Helpers ------------------------------------------------------------------


def _name_by_content(header: Path, data: Path) -> None:
    """Give a data file a name that no other content has, and tell its header.

    Of two files only one can be replaced at a time. So the old header goes on
    naming the old data until the new one, which names the new, takes its place.
    """
    with data.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:8]
    named = f"{header.stem}-{digest}{data.name.removeprefix(header.stem)}"
    text = header.read_bytes()
    header.write_bytes(DATA_LINE.sub(lambda line: line[1] + named.encode(), text))
    data.rename(data.with_name(named))


def _check_utf8(path: Path) -> None:
    """Refuse a path that SimpleITK cannot take: it ends the process on one.

    Raises
    ------
    OSError
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise OSError("its path is not UTF-8; rename it") from error


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]


def explain_itk(path: Path, error: RuntimeError) -> Exception:
    """Make our error of one of ITK's."""
    logger.debug("%s: %s", path, error)
    # ITK: "Refusing to change spacing from [1, 1, 1] to [1, 0, 1]".
    found = re.search(r"spacing from .* to \[([^\]]*)\]", str(error))
    if found:
        for axis, step in zip("xyz", found.group(1).split(","), strict=False):
            if float(step) == 0:
                return unreadable(path, f"spacing along {axis} is 0 mm", EXPORT_AGAIN)
    if "determinant is 0" in str(error):
        reason = "its affine is singular: two axes point the same way"
        return unreadable(path, reason, EXPORT_AGAIN)
    # NrrdIO: "[nrrd] _nrrdEncodingAscii_read: couldn't parse element 2 of 210".
    cause = re.search(r"\[nrrd\] \w+: ([^\n]{1,200})\s*$", str(error))
    kind = suffix_of(path)[1:].upper()
    reason = f"the file is damaged, cut short, or not {kind} data"
    # ITK: "NrrdImageIO(0x1): ReadImageInformation: Error interpreting nrrd spacing".
    cause = cause or re.search(r"\): ReadImageInformation: ([^\n]{1,200})", str(error))
    if cause:
        reason += f" ({cause[1].strip()})"
    return unreadable(path, reason, COPY_AGAIN)
