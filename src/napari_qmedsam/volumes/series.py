"""DICOM series: which ones a folder holds, and which one is meant."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_qmedsam.errors import AmbiguousSeries
from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.itk import quiet_itk

if TYPE_CHECKING:
    import SimpleITK as sitk

SOP_CLASS = "0008|0016"
SERIES_UID = "0020|000e"
SERIES_DESCRIPTION = "0008|103e"

HEAD_BYTES = 1 << 16
"""The part of a file in which its series is named."""


@dataclass(frozen=True)
class Series:
    """One DICOM series of a folder.

    Parameters
    ----------
    uid : str
        SeriesInstanceUID.
    description : str
        SeriesDescription; empty if the files have none.
    count : int
        Number of files; slices, unless a file holds several.
    files : tuple of str
        Paths in slice order.
    """

    uid: str
    description: str
    count: int
    files: tuple[str, ...]


def list_series(path: str | Path) -> list[Series]:
    """Return the image series in the folder `path`, or in the folder of a file.

    Subfolders are not searched. Series without images (reports, structure
    sets) are left out. The order is that of the UIDs.
    """
    import SimpleITK as sitk

    path = Path(path)
    folder = path if path.is_dir() else path.parent
    found = []
    with quiet_itk():
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
            files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
            tags = tags_of(files[0]) if files else None
            if tags is not None:
                description = text_of(tags, SERIES_DESCRIPTION)
                found.append(Series(uid, description, len(files), tuple(files)))
    return sorted(found, key=lambda series: series.uid)


def choose_series(path: Path, wanted: str | None) -> Series:
    """Return the one series that `path` and `wanted` stand for.

    Parameters
    ----------
    path : Path
        A folder, or a file that stands for its series.
    wanted : str or None
        UID or exact description; it goes before the file.

    Raises
    ------
    AmbiguousSeries
        If several fit; the message lists them.
    UnreadableVolume
        If none fits.
    """
    found = list_series(path)
    if not found:
        where = "the folder holds" if path.is_dir() else "the file is not part of"
        nested = path.is_dir() and any(child.is_dir() for child in path.iterdir())
        raise unreadable(
            path,
            f"{where} {'no' if path.is_dir() else 'a'} readable DICOM image series",
            "Choose one of its subfolders."
            if nested
            else "Choose a folder with DICOM slices, and copy it again if damaged.",
        )
    if wanted is not None:
        fitting = [s for s in found if wanted in (s.uid, s.description)]
        if not fitting:
            raise unreadable(
                path, f"it has no series '{wanted}'", f"It holds:{_listing(found)}"
            )
    elif path.is_dir():
        fitting = found
    else:
        tags = tags_of(str(path))
        uid = "" if tags is None else text_of(tags, SERIES_UID)
        fitting = [s for s in found if s.uid == uid]
        if not fitting:
            raise unreadable(
                path,
                "it holds no DICOM image",
                "Choose a slice, or the folder of a series.",
            )
    if len(fitting) > 1:
        raise AmbiguousSeries(
            f"Cannot read '{path.name}': it holds {len(fitting)} DICOM series. "
            "Choose one with series= and its UID or its exact description, or "
            f"open one file of it.{_listing(fitting)}"
        )
    return fitting[0]


def _listing(found: list[Series]) -> str:
    return "".join(
        f"\n  {s.uid}  '{s.description}'  {s.count} slice{'s' * (s.count != 1)}"
        for s in found
    )


def tags_of(file: str) -> "sitk.ImageFileReader | None":
    """Return a reader that knows the tags of a file; None if it is no image."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.SetImageIO("GDCMImageIO")
    with quiet_itk():
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            return None
    return reader


def text_of(reader: "sitk.ImageFileReader", key: str) -> str:
    """Return the text of a tag without padding; empty if there is none."""
    return reader.GetMetaData(key).strip(" \0") if reader.HasMetaDataKey(key) else ""


def check_complete(path: Path, chosen: Series) -> None:
    """Refuse a series with a damaged slice.

    GDCM leaves such files out of the list without a word, and one at the end
    would not even show as a gap. A file left out belongs to the series if it
    names the same kind of object and the same series; reports and structure
    sets name another kind.
    """
    listed = {Path(file).name for file in chosen.files}
    folder = Path(chosen.files[0]).parent
    tags = tags_of(chosen.files[0])
    kind = "" if tags is None else text_of(tags, SOP_CLASS)
    for file in folder.iterdir():
        if file.name in listed or not file.is_file():
            continue
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        if head[128:132] != b"DICM" or kind.encode() not in head[:1024]:
            continue
        if _names_uid(head, chosen.uid) and tags_of(str(file)) is None:
            raise damaged_slice(path, file)


def damaged_slice(path: Path, file: str | Path) -> Exception:
    """Make the error that names the file that cannot be read."""
    return unreadable(
        path,
        f"slice '{Path(file).name}' is damaged or cut short",
        "Export the series again.",
    )


def _names_uid(head: bytes, uid: str) -> bool:
    """Tell whether a UID occurs whole, not as the start of a longer one."""
    whole = rb"(?<![0-9.])%b(?![0-9.])" % re.escape(uid.encode())
    return re.search(whole, head) is not None
