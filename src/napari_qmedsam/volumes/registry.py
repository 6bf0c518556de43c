"""All kinds of files, and which one a path is."""

from pathlib import Path

from napari_qmedsam.contents import foreign_contents
from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes.dicom.reading import DICOM
from napari_qmedsam.volumes.files import (
    suffix_of,
    system_errors_named,
    unreadable,
)
from napari_qmedsam.volumes.formats import HEAD_BYTES, Format
from napari_qmedsam.volumes.inflating import GZIP_MARK, inflated_head
from napari_qmedsam.volumes.metaimage import METAIMAGE
from napari_qmedsam.volumes.nifti import NIFTI
from napari_qmedsam.volumes.npz import NPZ
from napari_qmedsam.volumes.nrrd import NRRD
from napari_qmedsam.volumes.pictures import PICTURE
from napari_qmedsam.volumes.volume import Modality, Volume

FORMATS: tuple[Format, ...] = (NIFTI, DICOM, NRRD, METAIMAGE, NPZ, PICTURE)
"""Every kind of file, in the order of messages and dialogs."""

WRITABLE: dict[str, Format] = {
    suffix: each for each in FORMATS for suffix in each.written
}
"""Suffixes that are written, and by whom."""


def format_of(path: Path) -> Format:
    """Tell the kind of a file from what it holds, and else from its suffix.

    A folder counts as DICOM. Many scanners give DICOM files no suffix, or a
    number as suffix.

    Raises
    ------
    UnreadableVolume
        If nothing is there, the file is empty, or no reader fits.
    """
    with system_errors_named(path):
        return _format_of(path)


def _format_of(path: Path) -> Format:
    if not path.exists():
        raise unreadable(
            path, f"there is no such file in '{path.parent}'", "Check the path."
        )
    if path.is_dir():
        return DICOM
    if not path.is_file():
        # Reading a pipe may wait for ever.
        raise unreadable(path, "it is no regular file", "Save what it gives in one.")
    head = head_of(path)
    if not head:
        raise unreadable(path, "the file is empty", "Copy or export it again.")
    named = by_suffix(path)
    if named is not None and named.recognises(head):
        return named
    found = next((each for each in FORMATS if each.recognises(head)), None)
    if found is not None:
        return found
    if named is not None and head.startswith(GZIP_MARK) and not inflated_head(head, 1):
        return named  # whose reader says that it is damaged
    foreign = foreign_contents(inflated_head(head, HEAD_BYTES) or head)
    if foreign is not None:
        raise unreadable(
            path, f"it is {foreign.what}", foreign.advice or "Choose another file."
        )
    if named is None:
        titles = [each.title for each in FORMATS]
        raise unreadable(
            path,
            f"the suffix '{suffix_of(path)}' is not known",
            f"Readable are {', '.join(titles[:-1])} and {titles[-1]}.",
        )
    return named


def opens(path: Path) -> bool:
    """Tell whether a file or folder is for these readers, whichever door it takes.

    A file of a known name that is missing or damaged counts, since its reader
    gives the reason.
    """
    try:
        kind = format_of(path)
        return kind.holds_volume(path)
    except (UnreadableVolume, OSError):
        return by_suffix(path) is not None


def by_suffix(path: Path) -> Format | None:
    """Return the kind that a name stands for, if any."""
    suffix = suffix_of(path)
    return next((each for each in FORMATS if suffix in each.suffixes), None)


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def keeps_place(volume: Volume) -> bool:
    """Tell whether a volume's file says where in the patient it lies.

    Labels from pictures and ``.npz`` do not: they take the grid of their image.
    """
    kind = _kind_of(volume)
    return kind is None or kind.keeps_place


def guesses_modality(volume: Volume) -> bool:
    """Tell whether a volume's modality is CT or MR by its values only."""
    kind = _kind_of(volume)
    is_guess = volume.modality in (Modality.CT, Modality.MR)
    is_named = volume.source.names_modality or (kind and kind.names_modality)
    return is_guess and kind is not None and not is_named


def tells_sides(volume: Volume) -> bool:
    """Tell whether a volume's affine says where the patient's sides are.

    Formats without a place get an affine of their spacing alone; so does what
    others than our readers opened. What was made in memory says so itself.
    """
    kind = _kind_of(volume)
    return not volume.source.path if kind is None else kind.keeps_place


def _kind_of(volume: Volume) -> Format | None:
    return next((kind for kind in FORMATS if kind.name == volume.source.format), None)
