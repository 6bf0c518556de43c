"""Writing labels and images back, on the grid they came from."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.disk import atomic_files, why_not_writable
from napari_qmedsam.errors import GridMismatch, UnwritableLabels
from napari_qmedsam.volumes.files import suffix_of
from napari_qmedsam.volumes.itk import paired_data
from napari_qmedsam.volumes.labels import smallest_unsigned
from napari_qmedsam.volumes.registry import WRITABLE
from napari_qmedsam.volumes.segments import Segment, as_segments
from napari_qmedsam.volumes.volume import Volume

logger = logging.getLogger(__name__)


def write_labels(
    labels: NDArray,
    like: Volume,
    path: str | Path,
    *,
    names: Mapping[int, str] | Iterable[Segment] | None = None,
) -> Path:
    """Write labels on the grid of `like`, with its affine.

    The file appears whole or not at all: it is written beside its place and
    then renamed, so an existing file survives a failure.

    Parameters
    ----------
    labels : ndarray, (Z, Y, X) integers from 0, or bool
    like : Volume
        The volume they were drawn on, as :func:`read_volume` gave it. If it
        came from NIfTI, sform, qform, their codes and units come back in a
        NIfTI file. A 2D source gives a 2D file.
    path : str or Path
        ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha``, ``.mhd``, ``.npz`` (array
        ``segs``), ``.tif``, or ``.png`` for one slice. Pictures and ``.npz``
        do not hold the place in the patient. ``.dcm`` is a DICOM SEG, where
        `like` is of a DICOM series.
    names : mapping of int to str, or segments, optional
        What the labels are called, and their colours. Pictures do not hold it;
        every other format gives it back.

    Returns
    -------
    Path
        Where they are. The type is the smallest unsigned one that fits.

    Raises
    ------
    GridMismatch
        If the shape is not that of `like`.
    UnwritableLabels
        If the folder or format cannot take them, or they are not labels.
    """
    path = Path(path)
    labels = np.asarray(labels)
    if labels.shape != like.shape:
        raise GridMismatch(
            f"Labels have the shape {labels.shape}, but the volume they belong to "
            f"has {like.shape}. Pass the whole label volume, (Z, Y, X)."
        )
    if labels.dtype == np.bool_:
        labels = labels.astype(np.uint8)
    if labels.dtype.kind not in "iu":
        raise _unwritable(
            path, f"labels are integers, but the array is {labels.dtype}", "Round it."
        )
    if labels.min() < 0:
        raise _unwritable(
            path, f"they hold {labels.min()}", "Labels start at 0 for background."
        )
    like = replace(like, segments=as_segments(names) or like.segments)
    return _write(smallest_unsigned(labels), like, path, labels=True)


def write_volume(volume: Volume, path: str | Path) -> Path:
    """Write an image in one of the formats of :func:`write_labels`.

    Integers and float32 are kept; a NIfTI file has no slope. A ``.npz`` gets
    ``imgs`` and ``spacing`` (x, y, z).

    Raises
    ------
    UnwritableLabels
        If the folder or format cannot take it.
    """
    array = volume.array
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    return _write(array, volume, Path(path), labels=False)


def check_target(path: str | Path, like: Volume | None = None) -> None:
    """Refuse a place nothing can be written to, before long work for it starts.

    With `like`, a format that cannot hold labels of that volume is refused too.

    Raises
    ------
    UnwritableLabels
        If the suffix is not known, nothing can be written to the folder, or a
        folder has the name.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix not in WRITABLE:
        why = (
            "JPEG would change the values"
            if suffix in (".jpg", ".jpeg")
            else f"the suffix '{suffix}' is not known"
        )
        raise _unwritable(path, why, f"Writable are {', '.join(WRITABLE)}.")
    unfit = None if like is None else WRITABLE[suffix].why_not(like)
    if unfit is not None:
        raise _unwritable(path, unfit, "Choose another format.")
    if path.is_dir():
        raise _unwritable(path, "a folder has that name", "Choose another name.")
    reason = why_not_writable(path.parent)
    if reason is not None:
        raise _unwritable(path, reason, "Create the folder, or choose another.")


# Helpers ------------------------------------------------------------------


def _write(array: NDArray, like: Volume, path: Path, *, labels: bool) -> Path:
    check_target(path, like if labels else None)
    kind = WRITABLE[suffix_of(path)]
    write = kind.write_labels if labels else kind.write_image
    if write is None:
        raise _unwritable(
            path, f"{kind.title} is written for labels only", "Choose another format."
        )
    try:
        # MHD and NHDR are two files. The header, which holds the name of the
        # other, comes last: until then the old pair is complete.
        superseded = paired_data(path)
        with atomic_files(path.parent, last=path.name) as scratch:
            # Libraries add a suffix that they know to one in capitals.
            suffix = suffix_of(path)
            plain = scratch / (path.name[: -len(suffix)] + suffix)
            write(array, like, plain)
            plain.rename(scratch / path.name)
        if superseded is not None and superseded != paired_data(path):
            superseded.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise _unwritable(
            path, reason.rstrip("."), "Check the folder and the format."
        ) from error
    logger.info("Wrote %s", path)
    return path


def _unwritable(path: Path, reason: str, advice: str) -> UnwritableLabels:
    return UnwritableLabels(f"Cannot write '{path.name}': {reason}. {advice}")
