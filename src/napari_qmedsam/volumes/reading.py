"""Reading an image: one function for every kind of file."""

import logging
from dataclasses import replace
from pathlib import Path

from napari_qmedsam.volumes.cleaning import NoFiniteVoxel, finish
from napari_qmedsam.volumes.files import system_errors_named, unreadable
from napari_qmedsam.volumes.formats import Selection, Shape
from napari_qmedsam.volumes.grid import odd_spacing
from napari_qmedsam.volumes.registry import format_of, guesses_modality, keeps_place
from napari_qmedsam.volumes.volume import Modality, Volume

logger = logging.getLogger(__name__)


def read_volume(
    path: str | Path,
    *,
    frame: int | None = None,
    series: str | None = None,
    modality: Modality | None = None,
) -> Volume:
    """Read an image file or a DICOM folder.

    The voxels keep the order of the file; nothing is flipped or resampled.
    NaN and infinities become the smallest finite value. Whatever had to be
    repaired or assumed is logged as a warning and kept in ``notices``.

    Parameters
    ----------
    path : str or Path
        NIfTI, NRRD, MHA/MHD, a MedSAM ``.npz``, PNG, JPEG, TIFF, a DICOM
        folder, or one file of a DICOM series.
    frame : int or None
        Which frame of a 4D file, from 0. Without a choice frame 0 is read
        and a notice gives their number. A TIFF with pages is a stack unless
        `frame` picks one page.
    series : str or None
        Which DICOM series: UID or exact description.
    modality : Modality or None
        What the image is, if the caller knows better. Otherwise DICOM says
        it; elsewhere values with a minimum between -4096 and -200 are taken
        for CT, other grey volumes for MR, and a notice says so. Pictures and
        ``.npz`` are Other, or Colour.

    Returns
    -------
    Volume
        Integers as stored; floats as float32; colour as uint8.

    Raises
    ------
    AmbiguousSeries
        If a folder holds several DICOM series and `series` is not given.
    UnreadableVolume
        If the file is missing, damaged, of an unknown kind, has no valid
        grid, or holds no finite value.
    """
    path = Path(path)
    volume = read_uncleaned(path, Selection(frame, series))
    try:
        volume = finish(volume, modality)
    except NoFiniteVoxel as error:
        raise unreadable(
            path, "not one voxel is a finite number", "Export it again."
        ) from error
    odd = odd_spacing(volume) if keeps_place(volume) else None
    if odd is not None:
        volume = replace(volume, notices=(*volume.notices, odd))
    if modality is None and guesses_modality(volume):
        volume = replace(volume, notices=(*volume.notices, _told(volume)))
    for notice in volume.notices:
        logger.warning("%s: %s", path.name, notice)
    return volume


def _told(volume: Volume) -> str:
    return (
        f"The file does not name its modality; by its values it was taken for "
        f"{volume.modality.value}. modality= or --modality overrules."
    )


def read_uncleaned(path: Path, selection: Selection, *, labels: bool = False) -> Volume:
    """Read a file without cleaning its values.

    Parameters
    ----------
    path : Path
    selection : Selection
    labels : bool
        Read its labels, where the format keeps them apart from the image.
    """
    kind = format_of(path)
    if selection.series is not None and not kind.has_series:
        raise unreadable(
            path,
            "only DICOM holds series",
            f"Leave series='{selection.series}' out.",
        )
    read = kind.read_labels if labels and kind.read_labels else kind.read
    with system_errors_named(path):
        return read(path, selection)


def volume_shape(path: Path) -> Shape:
    """Return (Z, Y, X) of an image or label file without reading its voxels.

    Pictures have no header worth the name and are read.

    Raises
    ------
    UnreadableVolume
        If the file is damaged or of an unknown kind.
    """
    kind = format_of(path)
    with system_errors_named(path):
        return kind.shape(path)
