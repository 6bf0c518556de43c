"""Reading label volumes, and bringing them onto the grid of an image."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import GridMismatch
from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.formats import Selection
from napari_qmedsam.volumes.reading import read_uncleaned
from napari_qmedsam.volumes.registry import keeps_place
from napari_qmedsam.volumes.resampling import grids_overlap, resample_like, same_grid
from napari_qmedsam.volumes.volume import Modality, Volume

logger = logging.getLogger(__name__)


def read_labels(
    path: str | Path,
    like: Volume | None = None,
    *,
    frame: int | None = None,
    series: str | None = None,
) -> Volume:
    """Read a label volume; 0 is background.

    Parameters
    ----------
    path : str or Path
        As for :func:`read_volume`. Of a MedSAM ``.npz`` the ``gts`` are read,
        or ``segs``.
    like : Volume or None
        The image the labels belong to. Labels on another grid are resampled
        to it by nearest neighbour, with a notice. ``.npz`` and pictures say
        nothing about their place, so they must have its shape.
    frame, series
        As for :func:`read_volume`.

    Returns
    -------
    Volume
        The smallest unsigned type that holds the labels.

    Raises
    ------
    UnreadableVolume
        If the file cannot be read, or holds anything but whole numbers from 0.
    GridMismatch
        If the labels lie outside `like`, or cannot be placed on it.
    """
    path = Path(path)
    labels = read_uncleaned(path, Selection(frame, series, like), labels=True)
    labels = replace(
        labels, array=_whole_numbers(path, labels.array), modality=Modality.OTHER
    )
    if not keeps_place(labels):
        labels = replace(labels, notices=())
    if like is not None:
        labels = labels_on_grid(labels, like)
    for notice in labels.notices:
        logger.warning("%s: %s", path.name, notice)
    return labels


def labels_on_grid(labels: Volume | NDArray[np.integer], like: Volume) -> Volume:
    """Return labels with the voxels of an image: the one place where grids meet.

    What is scored or compared goes through here, so labels whose rows are stored the
    other way round, or that were drawn on a finer grid, count where they lie in the
    patient.

    Parameters
    ----------
    labels : Volume, or ndarray, (Z, Y, X) integer
        A volume on another grid is resampled by nearest neighbour, with a notice. An
        array, and a volume of a format that keeps no place, must have the image's
        shape and take its grid.
    like : Volume
        The image.

    Returns
    -------
    Volume
        On the grid of `like`.

    Raises
    ------
    GridMismatch
        If the labels lie wholly outside `like`, or cannot be placed on it.
    """
    if not isinstance(labels, Volume):
        if labels.shape != like.shape:
            raise GridMismatch(
                f"The labels are {labels.shape} but the image is {like.shape}, and an "
                "array does not say where it lies. Give them as a volume."
            )
        return like.with_labels(labels)
    name = _named("Labels", labels)
    if not keeps_place(labels):
        if labels.shape != like.shape:
            raise GridMismatch(
                f"{name} have the shape {labels.shape}, but the image "
                f"has {like.shape}, and the file does not say where they lie. "
                "Save them in the shape of the image."
            )
        return _moved_to(labels, like)
    if same_grid(labels, like):
        return _moved_to(labels, like)
    if not grids_overlap(labels, like, _extent(labels.array)):
        raise GridMismatch(
            f"{name} lie wholly outside {_named('the image', like)}. Check that both "
            "belong together."
        )
    resampled = resample_like(labels, like, nearest=True)
    change = f"from {_grid(labels)} to {_grid(like)}"
    notices = [f"The labels were resampled by nearest neighbour {change}."]
    lost = np.setdiff1d(np.unique(labels.array), np.unique(resampled.array))
    lost = lost[lost != 0]
    if lost.size:
        listed = ", ".join(str(label) for label in lost)
        notices.append(f"Nothing of label {listed} was left after resampling.")
    return replace(resampled, notices=(*labels.notices, *notices))


def smallest_unsigned(array: NDArray) -> NDArray:
    """Return non-negative integers in the smallest unsigned type that fits."""
    dtype = np.min_scalar_type(int(array.max()))
    return array if array.dtype == dtype else array.astype(dtype)


# Helpers ------------------------------------------------------------------


def _whole_numbers(path: Path, array: NDArray) -> NDArray:
    """Return labels as unsigned integers; refuse what is not a label."""
    if array.ndim == 4:
        # Grey pictures are often saved as colour with three equal channels.
        first = array[..., 0]
        if not (first[..., None] == array).all():
            raise unreadable(
                path, "it is a colour picture", "Save labels as grey values."
            )
        array = np.ascontiguousarray(first)
    if array.dtype.kind == "f":
        for plane in array:
            wrong = plane[~(plane == np.rint(plane)) | np.isinf(plane)]
            if wrong.size:
                raise unreadable(
                    path,
                    f"it holds the value {wrong[0]}, but labels are whole numbers",
                    "Check that it is a label file and not an image.",
                )
    elif array.dtype.kind not in "iu":
        raise unreadable(path, f"its labels are {array.dtype}", "Save integers.")
    lowest, highest = array.min(), array.max()
    if lowest < 0 or highest > np.iinfo(np.uint32).max:
        wrong_value = lowest if lowest < 0 else highest
        raise unreadable(
            path,
            f"it holds the label {wrong_value:g}",
            "Labels start at 0 for background and fit 32 bits; check that it is "
            "a label file and not an image.",
        )
    return smallest_unsigned(array)


def _moved_to(labels: Volume, like: Volume) -> Volume:
    """Return labels of the same voxels with the place of `like`."""
    return replace(
        labels,
        affine=like.affine,
        spacing_mm=like.spacing_mm,
        has_spacing=like.has_spacing,
    )


def _named(what: str, volume: Volume) -> str:
    name = Path(volume.source.path).name
    return f"{what} '{name}'" if name else what


def _grid(volume: Volume) -> str:
    import nibabel as nib

    shape = " x ".join(str(n) for n in volume.shape)
    spacing = " x ".join(f"{s:.3g}" for s in volume.spacing_mm)
    # Rows stored the other way round differ in nothing else.
    axes = "".join(nib.aff2axcodes(volume.affine))
    return f"{shape} voxels of {spacing} mm (z, y, x), axes {axes}"


def _extent(array: NDArray) -> tuple[slice, slice, slice] | None:
    """Return the bounding box of the labelled voxels, None if there are none."""
    spans = []
    for axes in ((1, 2), (0, 2), (0, 1)):
        used = np.flatnonzero(array.any(axis=axes))
        if used.size == 0:
            return None
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
    return spans[0], spans[1], spans[2]
