"""DICOM: one series of a folder, through SimpleITK and GDCM."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.itk import quiet_itk, volume_from_image
from napari_qmedsam.volumes.series import (
    Series,
    check_complete,
    choose_series,
    clean_text,
    tags_of,
)
from napari_qmedsam.volumes.volume import Modality, Source, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

logger = logging.getLogger(__name__)

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

GAP_TOLERANCE = 0.02
"""Gaps may differ by this share of the usual one before a notice says so."""

SHIFT_TOLERANCE_MM = 0.1
"""Sideways step between slices from which a gantry tilt is reported."""


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

    chosen = choose_series(path, series)
    check_complete(path, chosen)
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


def _text_of(reader: "sitk.ImageSeriesReader", index: int, key: str) -> str:
    if not reader.HasMetaDataKey(index, key):
        return ""
    return clean_text(reader.GetMetaData(index, key))


def _not_stackable(path: Path, chosen: Series) -> Exception:
    sizes = {tags.GetSize()[:2] for tags in map(tags_of, chosen.files) if tags}
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
