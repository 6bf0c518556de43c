"""DICOM: one series of a folder, through SimpleITK and GDCM."""

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import AmbiguousSeries
from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.itk import quiet_itk, volume_from_image
from napari_qmedsam.volumes.volume import Modality, Source, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

logger = logging.getLogger(__name__)

SOP_CLASS = "0008|0016"
SERIES_UID = "0020|000e"
SERIES_DESCRIPTION = "0008|103e"
MODALITY = "0008|0060"
POSITION = "0020|0032"
ORIENTATION = "0020|0037"

MODALITIES = {
    "CT": Modality.CT,
    "MR": Modality.MR,
    "PT": Modality.PET,
    "US": Modality.US,
    "CR": Modality.XRAY,
    "DX": Modality.XRAY,
    "MG": Modality.XRAY,
    "RF": Modality.XRAY,
    "XA": Modality.XRAY,
}
"""DICOM's modality codes; every code not listed is Other."""

HEAD_BYTES = 1 << 16
"""The part of a file in which its series is named."""

GAP_TOLERANCE = 0.02
"""Gaps may differ by this share of the usual one before a notice says so."""

SHIFT_TOLERANCE_MM = 0.1
"""Sideways step between slices from which a gantry tilt is reported."""


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
            tags = _tags(files[0]) if files else None
            if tags is not None:
                description = _text(tags, SERIES_DESCRIPTION)
                found.append(Series(uid, description, len(files), tuple(files)))
    return sorted(found, key=lambda series: series.uid)


def read_dicom(path: Path, series: str | None = None) -> Volume:
    """Read one series of a folder, or the series that a file belongs to.

    Slices lie where ImagePositionPatient says. Missing slices or uneven gaps
    cannot be shown on a regular grid: the usual (median) gap becomes the
    spacing, so that every slice keeps its thickness, and a notice says where
    the grid departs from the patient.

    Parameters
    ----------
    path : Path
        Folder, or one file.
    series : str or None
        UID or exact description; needed if a folder holds several series.

    Raises
    ------
    AmbiguousSeries
        If several series fit. Series are never merged.
    UnreadableVolume
        If nothing fits, or the slices do not make a volume.
    """
    import SimpleITK as sitk

    chosen = _choose(path, series)
    _check_complete(path, chosen)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(chosen.files)
    reader.SetImageIO("GDCMImageIO")
    reader.MetaDataDictionaryArrayUpdateOn()
    with quiet_itk():
        try:
            image = reader.Execute()
        except RuntimeError as error:
            logger.debug("%s: %s", path, error)
            raise _not_stackable(path, chosen) from error
    modality = MODALITIES.get(_text_of(reader, 0, MODALITY), Modality.OTHER)
    volume = volume_from_image(
        image, path, Source(str(path), "dicom"), modality=modality
    )
    if chosen.count == 1:
        return volume
    return _place_slices(path, volume, _positions(path, reader, chosen))


# Choosing a series --------------------------------------------------------


def _choose(path: Path, wanted: str | None) -> Series:
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
        fitting = [s for s in found if s.uid == _uid_of(path)]
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


def _uid_of(path: Path) -> str:
    tags = _tags(str(path))
    return "" if tags is None else _text(tags, SERIES_UID)


def _tags(file: str) -> "sitk.ImageFileReader | None":
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


def _text(reader: "sitk.ImageFileReader", key: str) -> str:
    return _clean(reader.GetMetaData(key)) if reader.HasMetaDataKey(key) else ""


def _text_of(reader: "sitk.ImageSeriesReader", index: int, key: str) -> str:
    if not reader.HasMetaDataKey(index, key):
        return ""
    return _clean(reader.GetMetaData(index, key))


def _clean(text: str) -> str:
    return text.strip(" \0")


# Placing the slices -------------------------------------------------------


def _check_complete(path: Path, chosen: Series) -> None:
    """Refuse a series with a damaged slice.

    GDCM leaves such files out of the list without a word, and one at the end
    would not even show as a gap. A file left out belongs to the series if it
    names the same kind of object and the same series; reports and structure
    sets name another kind.
    """
    listed = {Path(file).name for file in chosen.files}
    folder = Path(chosen.files[0]).parent
    tags = _tags(chosen.files[0])
    kind = "" if tags is None else _text(tags, SOP_CLASS)
    for file in folder.iterdir():
        if file.name in listed or not file.is_file():
            continue
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        if head[128:132] != b"DICM" or _tags(str(file)) is not None:
            continue
        if kind.encode() in head[:1024] and _names_uid(head, chosen.uid):
            raise unreadable(
                path,
                f"slice '{file.name}' is damaged or cut short",
                "Export the series again.",
            )


def _names_uid(head: bytes, uid: str) -> bool:
    """Tell whether a UID occurs whole, not as the start of a longer one."""
    return re.search(re.escape(uid.encode()) + rb"(?![0-9.])", head) is not None


def _not_stackable(path: Path, chosen: Series) -> Exception:
    sizes = {tags.GetSize()[:2] for tags in map(_tags, chosen.files) if tags}
    if len(sizes) > 1:
        return unreadable(
            path,
            "its slices differ in width or height",
            "Export the series without localizers or summary pictures.",
        )
    return unreadable(
        path, "a slice of the series is damaged or cut short", "Export it again."
    )


def _positions(
    path: Path, reader: "sitk.ImageSeriesReader", chosen: Series
) -> NDArray[np.float64] | None:
    """Return where the slices lie in LPS mm, (n, 3); None if not all say it."""
    orientations, positions = [], []
    for index in range(chosen.count):
        orientation = _numbers(_text_of(reader, index, ORIENTATION), 6)
        position = _numbers(_text_of(reader, index, POSITION), 3)
        if orientation is None or position is None:
            return None
        orientations.append(orientation)
        positions.append(position)
    if np.ptp(orientations, axis=0).max() > 1e-3:
        raise unreadable(
            path,
            "its slices lie in different directions",
            "Export each direction as a series of its own.",
        )
    return np.array(positions)


def _numbers(text: str, count: int) -> list[float] | None:
    try:
        values = [float(v) for v in text.split("\\")]
    except ValueError:
        return None
    return values if len(values) == count else None


def _place_slices(
    path: Path, volume: Volume, positions: NDArray[np.float64] | None
) -> Volume:
    """Set the slice spacing from the positions, and report what does not fit."""
    if positions is None:
        return _notify(
            volume,
            "Not every slice says where it lies; order and slice spacing "
            "follow the file names and may be wrong.",
        )
    if len(positions) != volume.shape[0]:
        return volume
    columns = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    normal = columns[:, 2] * (-1.0, -1.0, 1.0)
    along = positions @ normal
    gaps = np.diff(along)
    if np.abs(gaps).min() < 1e-3:
        index = int(np.abs(gaps).argmin())
        raise unreadable(
            path,
            f"slices {index} and {index + 1} lie at the same position, "
            "as in a series over time",
            "Export each time point as a series of its own.",
        )
    usual = float(np.median(np.abs(gaps)))
    affine = volume.affine.copy()
    affine[:3, 2] = columns[:, 2] * usual
    placed = replace(volume, affine=affine, spacing_mm=(usual, *volume.spacing_mm[1:]))
    placed = _notify(placed, _describe_gaps(np.abs(gaps), usual))
    return _notify(placed, _describe_tilt(positions, along, normal))


def _describe_gaps(gaps: NDArray[np.float64], usual: float) -> str | None:
    """Say which gaps differ from the usual one, and how many slices may lack."""
    odd = np.flatnonzero(np.abs(gaps - usual) > GAP_TOLERANCE * usual)
    if odd.size == 0:
        return None
    first = int(odd[0])
    missing = int(np.rint(gaps[odd] / usual - 1).clip(min=0).sum())
    lacking = f"{missing} slice(s) seem to be missing; " if missing else ""
    return (
        f"Slice gaps are uneven: slices {first} and {first + 1} are "
        f"{gaps[first]:.2f} mm apart, the usual gap is {usual:.2f} mm "
        f"({odd.size} uneven in all); {lacking}every slice is shown "
        f"{usual:.2f} mm thick, so positions beyond the gap are off."
    )


def _describe_tilt(
    positions: NDArray[np.float64],
    along: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> str | None:
    """Say how far the slices slide sideways, which a tilted gantry causes."""
    sideways = positions - along[:, None] * normal
    shift = float(np.linalg.norm(sideways[-1] - sideways[0])) / (len(along) - 1)
    if shift < SHIFT_TOLERANCE_MM:
        return None
    return (
        f"Each slice is shifted {shift:.2f} mm sideways against the one before "
        "(tilted gantry); the slices are shown without the shift."
    )


def _notify(volume: Volume, notice: str | None) -> Volume:
    if notice is None:
        return volume
    return replace(volume, notices=(*volume.notices, notice))
