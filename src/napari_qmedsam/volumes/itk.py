"""SimpleITK: NRRD and MetaImage files, and images from and to volumes."""

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.cleaning import as_float32, guess_modality
from napari_qmedsam.volumes.files import suffix_of, unreadable
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.grid import (
    affine_from_geometry,
    bad_spacing,
    geometry_from_affine,
    spacing_from_affine,
)
from napari_qmedsam.volumes.volume import Modality, Source, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

logger = logging.getLogger(__name__)

IMAGE_IO = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
"""ITK's reader per suffix; naming it keeps ITK from trying all the others."""

EXPORT_AGAIN = "Re-export it with a valid header."
COPY_AGAIN = "Copy or export it again."

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


def read_itk(path: Path, frame: int | None = None) -> Volume:
    """Read an NRRD, MHA or MHD file.

    Three uint8 components make colour; of any other vector image, and of a
    4D image, `frame` picks one component or frame.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, its grid is no grid, or `frame` is not in it.
    """
    import SimpleITK as sitk

    if IMAGE_IO[suffix_of(path)] == "MetaImageIO":
        _check_metaimage(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(IMAGE_IO[suffix_of(path)])
    with quiet_itk():
        try:
            reader.ReadImageInformation()
            size = list(reader.GetSize())
            frame, notices = _choose(path, reader, frame)
            if len(size) > 3:
                index = np.unravel_index(frame, size[3:], order="F")
                reader.SetExtractSize(size[:3] + [0] * (len(size) - 3))
                reader.SetExtractIndex([0, 0, 0] + [int(i) for i in index])
            image = reader.Execute()
        except RuntimeError as error:
            raise _explain(path, error) from error
        if len(size) <= 3 and _components_are_frames(reader):
            image = sitk.VectorIndexSelectionCast(image, frame)
    kind = "nrrd" if suffix_of(path) in (".nrrd", ".nhdr") else "mha"
    source = Source(str(path), kind, dimensions=2 if len(size) == 2 else 3)
    return volume_from_image(image, path, source, notices)


def volume_from_image(
    image: "sitk.Image",
    path: Path,
    source: Source,
    notices: tuple[str, ...] = (),
    modality: Modality | None = None,
) -> Volume:
    """Return a volume of a 2D or 3D image, voxels and affine moved together.

    Raises
    ------
    UnreadableVolume
        If the voxels are not real numbers or 8-bit colours, or the affine
        does not make a grid.
    """
    import SimpleITK as sitk

    components = image.GetNumberOfComponentsPerPixel()
    array = sitk.GetArrayFromImage(image)
    if array.dtype.kind not in "iuf":
        raise unreadable(
            path,
            f"its voxels are {image.GetPixelIDTypeAsString()}",
            "Export magnitude images instead.",
        )
    if image.GetDimension() == 2:
        array = array[np.newaxis]
    if components == 4 and array.dtype == np.uint8:
        array = np.ascontiguousarray(array[..., :3])
        notices += ("Transparency was dropped.",)
    elif components > 1 and (components != 3 or array.dtype != np.uint8):
        raise unreadable(
            path,
            f"each voxel holds {components} values of type {array.dtype}",
            "Export grey values or 8-bit colour.",
        )
    affine = affine_from_geometry(
        image.GetSpacing(), image.GetOrigin(), image.GetDirection()
    )
    reason = bad_spacing(affine)
    if reason is not None:
        raise unreadable(path, reason, EXPORT_AGAIN)
    array = as_float32(array)
    return Volume(
        array=array,
        spacing_mm=spacing_from_affine(affine),
        affine=affine,
        modality=modality or guess_modality(array),
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


def write_itk(array: NDArray, like: Volume, path: Path) -> None:
    """Write an array on the grid of `like` as NRRD, MHA or MHD, compressed."""
    import SimpleITK as sitk

    image = image_from_array(array, like.affine)
    if like.source.dimensions == 2 and like.shape[0] == 1:
        image = image[:, :, 0]
    with quiet_itk():
        try:
            sitk.WriteImage(image, str(path), True)
        except RuntimeError as error:
            raise OSError(_last_line(error)) from error


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


def _components_are_frames(reader: "sitk.ImageFileReader") -> bool:
    import SimpleITK as sitk

    components, kind = reader.GetNumberOfComponents(), reader.GetPixelID()
    if components == 1 or kind in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        return False
    return not (kind == sitk.sitkVectorUInt8 and components in (3, 4))


def _choose(
    path: Path, reader: "sitk.ImageFileReader", frame: int | None
) -> tuple[int, tuple[str, ...]]:
    size = reader.GetSize()
    if len(size) > 3:
        return choose_frame(path, frame, math.prod(size[3:]))
    count = reader.GetNumberOfComponents() if _components_are_frames(reader) else 1
    return choose_frame(path, frame, count)


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]


def _explain(path: Path, error: RuntimeError) -> Exception:
    logger.debug("%s: %s", path, error)
    # ITK: "Refusing to change spacing from [1, 1, 1] to [1, 0, 1]".
    found = re.search(r"spacing from .* to \[([^\]]*)\]", str(error))
    if found:
        for axis, step in zip("xyz", found.group(1).split(","), strict=False):
            if float(step) == 0:
                return unreadable(path, f"spacing along {axis} is 0 mm", EXPORT_AGAIN)
    return unreadable(
        path,
        f"the file is damaged, cut short, or not {suffix_of(path)[1:].upper()} data",
        COPY_AGAIN,
    )


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
