"""The shape of a file's volume, told from its header alone."""

import zipfile
from pathlib import Path

from numpy.lib import format as npy

from napari_qmedsam.volumes.files import FileKind, kind_of, unreadable

Shape = tuple[int, int, int]
"""(Z, Y, X), as `Volume.shape` has it."""


def volume_shape(path: Path) -> Shape:
    """Return (Z, Y, X) of an image or label file without reading its voxels.

    Pictures have no header worth the name and are read.

    Raises
    ------
    UnreadableVolume
        If the file is damaged or of an unknown kind.
    """
    kind = kind_of(path)
    if kind is FileKind.NPZ:
        return npz_shapes(path)[0]
    if kind is FileKind.NIFTI:
        return _nifti_shape(path)
    if kind is FileKind.ITK:
        return _itk_shape(path)
    if kind is FileKind.DICOM:
        return _dicom_shape(path)
    from napari_qmedsam.volumes.reading import load

    return load(path).shape


def npz_shapes(path: Path) -> tuple[Shape, Shape | None]:
    """Return the shapes of ``imgs`` and ``gts`` of a challenge file.

    The second is None where there are no labels.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = set(archive.namelist())
            shapes = {
                name: _npy_shape(archive, f"{name}.npy")
                for name in ("imgs", "gts")
                if f"{name}.npy" in held
            }
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise unreadable(
            path, "the file is damaged or not an NPZ archive", "Copy it again."
        ) from error
    if "imgs" not in shapes:
        raise unreadable(
            path, "it holds no array named 'imgs'", "Check that it is a MedSAM case."
        )
    image, labels = shapes["imgs"], shapes.get("gts")
    # A stack three voxels wide is told from colour by its labels, as in npz.py.
    flat_labels = labels is None or len(labels) == 2
    colour = image[-1] == 3 and (len(image) == 4 or (len(image) == 3 and flat_labels))
    plain = image[:-1] if colour else image
    if len(plain) not in (2, 3):
        raise unreadable(
            path,
            f"its imgs have the shape {image}",
            "It must be (Y, X), (Y, X, 3) or (Z, Y, X).",
        )
    return _stack(plain), None if labels is None else _stack(labels)


def _npy_shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    with archive.open(name) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else None
        read = read or npy.read_array_header_2_0
        return read(stream)[0]


def _stack(shape: tuple[int, ...]) -> Shape:
    padded = (1, *shape) if len(shape) == 2 else shape
    z, y, x = padded[:3] if len(padded) >= 3 else (0, 0, 0)
    return z, y, x


def _nifti_shape(path: Path) -> Shape:
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        x, y, *rest = nib.load(path).shape  # type: ignore[attr-defined]
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise unreadable(
            path, "the file is damaged or no NIfTI file", "Copy or export it again."
        ) from error
    return (rest[0] if rest else 1), y, x


def _itk_shape(path: Path) -> Shape:
    import SimpleITK as sitk

    from napari_qmedsam.volumes.files import suffix_of
    from napari_qmedsam.volumes.itk import IMAGE_IO, quiet_itk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(IMAGE_IO[suffix_of(path)])
    with quiet_itk():
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise unreadable(
                path, "the file is damaged or cut short", "Copy or export it again."
            ) from error
    return _from_size(reader.GetSize())


def _dicom_shape(path: Path) -> Shape:
    from napari_qmedsam.volumes.series import choose_series, tags_of

    series = choose_series(path, None)
    tags = tags_of(series.files[0])
    assert tags is not None  # the listing leaves out what is no image
    frames, y, x = _from_size(tags.GetSize())
    return max(series.count, frames), y, x


def _from_size(size: tuple[int, ...]) -> Shape:
    x, y, *rest = size
    return (rest[0] if rest else 1), y, x
