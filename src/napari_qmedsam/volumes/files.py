"""What a path holds, and how to say that it cannot be read."""

from enum import Enum
from pathlib import Path

from napari_qmedsam.errors import UnreadableVolume


class FileKind(Enum):
    """The families of files, one reader each."""

    NIFTI = "nifti"
    DICOM = "dicom"
    ITK = "itk"
    NPZ = "npz"
    PICTURE = "picture"


SUFFIXES: dict[str, FileKind] = {
    ".nii": FileKind.NIFTI,
    ".nii.gz": FileKind.NIFTI,
    ".dcm": FileKind.DICOM,
    ".dicom": FileKind.DICOM,
    ".ima": FileKind.DICOM,
    ".nrrd": FileKind.ITK,
    ".nhdr": FileKind.ITK,
    ".mha": FileKind.ITK,
    ".mhd": FileKind.ITK,
    ".npz": FileKind.NPZ,
    ".png": FileKind.PICTURE,
    ".jpg": FileKind.PICTURE,
    ".jpeg": FileKind.PICTURE,
    ".tif": FileKind.PICTURE,
    ".tiff": FileKind.PICTURE,
}
"""Every suffix that is read, in lower case."""

READABLE = "NIfTI, DICOM, NRRD, MHA/MHD, NPZ, PNG, JPEG and TIFF"
"""The formats as messages list them."""


def suffix_of(path: Path) -> str:
    """Return the suffix in lower case, with ``.nii.gz`` kept whole."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def unreadable(path: Path, reason: str, advice: str) -> UnreadableVolume:
    """Make the error ``Cannot read 'name': reason. advice``."""
    return UnreadableVolume(f"Cannot read '{path.name}': {reason}. {advice}")


def kind_of(path: Path) -> FileKind:
    """Tell the family of a file from its suffix, or from the DICOM mark.

    A folder counts as DICOM. Many scanners give DICOM files no suffix, or a
    number as suffix, so the letters ``DICM`` at byte 128 count as well.

    Raises
    ------
    UnreadableVolume
        If nothing is there, the file is empty, or no reader fits.
    """
    if not path.exists():
        raise unreadable(
            path, f"there is no such file in '{path.parent}'", "Check the path."
        )
    if path.is_dir():
        return FileKind.DICOM
    if path.stat().st_size == 0:
        raise unreadable(path, "the file is empty", "Copy or export it again.")
    kind = SUFFIXES.get(suffix_of(path))
    if kind is not None:
        return kind
    with path.open("rb") as stream:
        if stream.read(132)[128:] == b"DICM":
            return FileKind.DICOM
    raise unreadable(
        path,
        f"the suffix '{suffix_of(path)}' is not known",
        f"Readable are {READABLE}.",
    )
