"""SimpleITK: files through its readers, and images from and to volumes."""

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
from napari_qmedsam.volumes.files import (
    COPY_AGAIN,
    EXPORT_AGAIN,
    suffix_of,
    unreadable,
)
from napari_qmedsam.volumes.formats import Selection, Shape
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


def read_itk(path: Path, image_io: str, name: str, selection: Selection) -> Volume:
    """Read a file through one of ITK's readers.

    Three uint8 components make colour; of any other vector image, and of a
    4D image, the frame picks one component or frame.

    Parameters
    ----------
    path : Path
    image_io : str
        The name of the reader.
    name : str
        `Source.format` of the result.
    selection : Selection

    Raises
    ------
    UnreadableVolume
        If the file is damaged, its grid is no grid, or the frame is not in it.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(image_io)
    with quiet_itk():
        try:
            reader.ReadImageInformation()
            size = list(reader.GetSize())
            frame, notices = _choose(path, reader, selection.frame)
            if len(size) > 3:
                index = np.unravel_index(frame, size[3:], order="F")
                reader.SetExtractSize(size[:3] + [0] * (len(size) - 3))
                reader.SetExtractIndex([0, 0, 0] + [int(i) for i in index])
            image = reader.Execute()
        except RuntimeError as error:
            raise _explain(path, error) from error
        if len(size) <= 3 and _components_are_frames(reader):
            image = sitk.VectorIndexSelectionCast(image, frame)
    source = Source(str(path), name, dimensions=2 if len(size) == 2 else 3)
    return volume_from_image(image, path, source, notices)


def itk_shape(path: Path, image_io: str) -> Shape:
    """Return the shape a file's header gives."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(image_io)
    with quiet_itk():
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise _explain(path, error) from error
    return shape_from_size(reader.GetSize())


def shape_from_size(size: tuple[int, ...]) -> Shape:
    """Return (Z, Y, X) of a size (x, y) or (x, y, z, ...)."""
    x, y, *rest = size
    return (rest[0] if rest else 1), y, x


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
