"""DICOM: one series of a folder, through SimpleITK and GDCM."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.formats import WHOLE, Format, Selection, Shape
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.itk import quiet_itk, shape_from_size, volume_from_image
from napari_qmedsam.volumes.series import (
    check_complete,
    choose_series,
    damaged_slice,
    tags_of,
    text_of,
)
from napari_qmedsam.volumes.volume import Modality, Source, Volume

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


def read_dicom(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read one series of a folder, or the series that a file belongs to.

    Slices lie where ImagePositionPatient says. Missing slices or uneven gaps
    cannot be shown on a regular grid: the usual (median) gap becomes the
    spacing, so that every slice keeps its thickness, and a notice says where
    the grid departs from the patient.

    Parameters
    ----------
    path : Path
        Folder, or one file.
    selection : Selection
        `series` is needed if a folder holds several.

    Raises
    ------
    AmbiguousSeries
        If several series fit. Series are never merged.
    UnreadableVolume
        If nothing fits, or the slices do not make a volume.
    """
    choose_frame(path, selection.frame, 1)
    chosen = choose_series(path, selection.series)
    check_complete(path, chosen)
    if chosen.count == 1:
        # A plain slice, or an enhanced file with all slices and their geometry.
        return _read_file(path, chosen.files[0])[0]
    volume, places = _read_slices(path, chosen.files)
    return _place_slices(path, volume, _positions(path, places))


def _read_file(path: Path, file: str) -> tuple[Volume, tuple[str, str]]:
    """Return one file as a volume, with its orientation and position as text."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.SetImageIO("GDCMImageIO")
    with quiet_itk():
        try:
            image = reader.Execute()
        except RuntimeError as error:
            logger.debug("%s: %s", file, error)
            raise damaged_slice(path, file) from error
    modality = MODALITIES.get(text_of(reader, MODALITY), Modality.OTHER)
    volume = volume_from_image(
        image, path, Source(str(path), "dicom"), modality=modality
    )
    return volume, (text_of(reader, ORIENTATION), text_of(reader, POSITION))


def _read_slices(
    path: Path, files: tuple[str, ...]
) -> tuple[Volume, list[tuple[str, str]]]:
    """Read one slice per file into one array.

    ITK's series reader would hold the series several times, and read every
    slice in the type of the first, though in PET each has its own slope.

    Returns
    -------
    Volume
        With the affine of the first slice.
    list of (str, str)
        Orientation and position of each slice, as text.
    """
    first, place = _read_file(path, files[0])
    stack = np.empty((len(files), *first.array.shape[1:]), first.array.dtype)
    stack[0] = first.array[0]
    places = [place]
    for index, file in enumerate(files[1:], start=1):
        one, place = _read_file(path, file)
        places.append(place)
        if one.array.shape != first.array.shape or first.shape[0] != 1:
            raise unreadable(
                path,
                f"its slices differ in size: '{Path(files[0]).name}' is "
                f"{first.array.shape}, '{Path(file).name}' {one.array.shape}",
                "Export the series without localizers or summary pictures.",
            )
        dtype = np.result_type(stack, one.array)
        if dtype != stack.dtype:
            stack = stack.astype(np.float32 if dtype.kind == "f" else dtype)
        stack[index] = one.array[0]
    return replace(first, array=stack), places


def _positions(path: Path, places: list[tuple[str, str]]) -> NDArray[np.float64] | None:
    """Return where the slices lie in LPS mm, (n, 3); None if not all say it."""
    orientations = [_numbers(text, 6) for text, _ in places]
    positions = [_numbers(text, 3) for _, text in places]
    if None in orientations or None in positions:
        return None
    if np.ptp(np.array(orientations), axis=0).max() > 1e-3:
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
    columns = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    normal = columns[:, 2] * (-1.0, -1.0, 1.0)
    along = positions @ normal
    if (np.diff(along) <= 0).any():
        # GDCM falls back to numbers or names when it cannot sort by place.
        order = np.argsort(along, kind="stable")
        volume = _reorder(volume, positions, order)
        along, positions = along[order], positions[order]
    gaps = np.diff(along)
    if gaps.min() < 1e-3:
        index = int(gaps.argmin())
        raise unreadable(
            path,
            f"slices {index} and {index + 1} lie at the same position, "
            "as in a series over time",
            "Export each time point as a series of its own.",
        )
    usual = float(np.median(gaps))
    affine = volume.affine.copy()
    affine[:3, 2] = columns[:, 2] * usual
    placed = replace(volume, affine=affine, spacing_mm=(usual, *volume.spacing_mm[1:]))
    placed = _notify(placed, _describe_gaps(gaps, usual))
    return _notify(placed, _describe_tilt(positions, along, normal))


def _reorder(
    volume: Volume, positions: NDArray[np.float64], order: NDArray[np.intp]
) -> Volume:
    """Return the slices in another order, starting where the new first lies."""
    affine = volume.affine.copy()
    affine[:3, 3] = positions[order[0]] * (-1.0, -1.0, 1.0)
    return replace(volume, array=volume.array[order], affine=affine)


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


def _header_shape(path: Path) -> Shape:
    series = choose_series(path, None)
    tags = tags_of(series.files[0])
    assert tags is not None  # the listing leaves out what is no image
    frames, y, x = shape_from_size(tags.GetSize())
    return max(series.count, frames), y, x


DICOM = Format(
    name="dicom",
    title="DICOM",
    suffixes=(".dcm", ".dicom", ".ima"),
    recognises=lambda head: head[128:132] == b"DICM",
    read=read_dicom,
    shape=_header_shape,
    has_series=True,
)
