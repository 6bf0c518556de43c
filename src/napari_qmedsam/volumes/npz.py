"""The ``.npz`` files of the MedSAM challenges.

``imgs`` is (Y, X), (Y, X, 3) or (Z, Y, X), mostly uint8 and already windowed;
``gts`` the labels; ``boxes`` one box a row; ``spacing`` three lengths in mm.
The challenge's own preparation script stores SimpleITK's ``GetSpacing()``, so
the order in the file is (x, y, z); it is turned round here. Origin and
direction are not stored: axial slices in LPS direction are taken for granted.
"""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes.cleaning import NoFiniteVoxel, finish
from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.formats import WHOLE, Format, Selection, Shape
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.grid import NO_SPACING
from napari_qmedsam.volumes.npz_archive import (
    COPY_AGAIN,
    DAMAGE,
    array_shape,
    is_npz,
    load_arrays,
)
from napari_qmedsam.volumes.segment_fields import json_of_segments, segments_of_json
from napari_qmedsam.volumes.volume import Modality, Source, Volume


@dataclass(frozen=True, eq=False)
class NpzCase:
    """One challenge case.

    Parameters
    ----------
    volume : Volume
    labels : Volume or None
        ``gts`` on the grid of `volume`.
    boxes : ndarray or None
        ``boxes`` as stored, if they are plain numbers: rows of (x_min, y_min,
        x_max, y_max) in 2D, of (x_min, y_min, z_min, x_max, y_max, z_max) in 3D.
    """

    volume: Volume
    labels: Volume | None = None
    boxes: NDArray | None = None


def read_npz_case(path: str | Path) -> NpzCase:
    """Read image, labels and boxes of a challenge file.

    The modality is Other (Colour for colour): the greys are windowed already,
    so a window in HU would not fit, whatever the scanner was.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, has no ``imgs``, or the parts do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise unreadable(
            path, f"there is no such file in '{path.parent}'", "Check the path."
        )
    volume = read_npz(path)
    try:
        volume = finish(volume)
    except NoFiniteVoxel as error:
        raise unreadable(
            path, "not one voxel is a finite number", "Export it again."
        ) from error
    arrays = load_arrays(path, ("gts",))
    labels = None
    if "gts" in arrays:
        gts = _as_stack(arrays["gts"])
        if gts.shape != volume.shape or gts.dtype.kind not in "iub":
            raise unreadable(
                path,
                f"its gts are {arrays['gts'].shape} {gts.dtype}, but its imgs "
                f"are {volume.array.shape}",
                "Labels must be integers on the grid of the image.",
            )
        labels = replace(volume, array=gts, modality=Modality.OTHER, notices=())
    boxes, notices = _boxes(path)
    return NpzCase(replace(volume, notices=volume.notices + notices), labels, boxes)


def read_npz(path: Path, selection: Selection = WHOLE) -> Volume:
    """Return ``imgs`` of a file, voxels as stored."""
    choose_frame(path, selection.frame, 1)
    arrays = load_arrays(path, ("imgs", "spacing"))
    if "imgs" not in arrays:
        raise unreadable(
            path, "it holds no array named 'imgs'", "Check that it is a MedSAM case."
        )
    array = arrays["imgs"]
    if array.dtype.kind not in "iufb":
        raise unreadable(path, f"its imgs are {array.dtype}, not numbers", COPY_AGAIN)
    colour = _is_colour(path, array)
    flat = array.ndim == 2 or (array.ndim == 3 and colour)
    if flat:
        array = array[np.newaxis]
    if array.ndim != 3 + colour or 0 in array.shape:
        raise unreadable(
            path,
            f"its imgs have the shape {arrays['imgs'].shape}",
            "It must be (Y, X), (Y, X, 3) or (Z, Y, X).",
        )
    spacing, notices = _spacing(path, arrays.get("spacing"), flat)
    return Volume(
        array=_as_bytes(path, array) if colour else _plain(array),
        spacing_mm=spacing,
        modality=Modality.COLOUR if colour else Modality.OTHER,
        source=Source(str(path), "npz", dimensions=2 if flat else 3),
        notices=notices,
        has_spacing="spacing" in arrays,
    )


def npz_shapes(path: Path) -> tuple[Shape, Shape | None]:
    """Return the shapes of ``imgs`` and ``gts`` of a challenge file.

    The second is None where there are no labels.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = set(archive.namelist())
            shapes = {
                name: array_shape(archive, f"{name}.npy")
                for name in ("imgs", "gts")
                if f"{name}.npy" in held
            }
    except (*DAMAGE, ValueError) as error:
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
    return (
        _stack_shape(plain),
        None if labels is None else _stack_shape(labels),
    )


def read_npz_labels(path: Path, selection: Selection = WHOLE) -> Volume:
    """Return ``gts``, or the ``segs`` of a result file, as (Z, Y, X)."""
    choose_frame(path, selection.frame, 1)
    arrays = load_arrays(path, ("gts", "segs", "segments"))
    for name in ("gts", "segs"):
        if name in arrays:
            stack = _as_stack(arrays[name])
            if stack.ndim != 3 or 0 in stack.shape:
                raise unreadable(
                    path,
                    f"its labels have the shape {arrays[name].shape}",
                    "Save (Z, Y, X) or (Y, X).",
                )
            flat = arrays[name].ndim == 2
            source = Source(str(path), "npz", dimensions=2 if flat else 3)
            segments = segments_of_json(str(arrays.get("segments", "[]")))
            return Volume(
                array=stack, source=source, segments=segments, has_spacing=False
            )
    raise unreadable(
        path, "it holds no array named 'gts' or 'segs'", "Choose a file with labels."
    )


def write_npz_labels(array: NDArray, like: Volume, path: Path) -> None:
    """Write ``segs``. Place and spacing have no place there and are lost.

    Names and colours go into ``segments``, a text of JSON; who looks for ``segs``
    alone never sees it.
    """
    arrays = {"segs": _as_stored(array, like)}
    if like.segments:
        arrays["segments"] = np.array(json_of_segments(like.segments))
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def write_npz_image(array: NDArray, like: Volume, path: Path) -> None:
    """Write ``imgs`` and ``spacing``; origin and direction are lost."""
    spacing = np.array(like.spacing_mm[::-1])
    np.savez_compressed(path, imgs=_as_stored(array, like), spacing=spacing)


# Helpers ------------------------------------------------------------------


def _as_stored(array: NDArray, like: Volume) -> NDArray:
    """Leave the third axis out where the source had none."""
    flat = like.source.dimensions == 2 and like.shape[0] == 1
    return array[0] if flat else array


def _is_colour(path: Path, array: NDArray) -> bool:
    """Tell (Y, X, 3) from a stack three voxels wide.

    Labels and boxes decide, as they have one form in 2D and another in 3D.
    """
    if array.ndim not in (3, 4) or array.shape[-1] != 3:
        return False
    if array.ndim == 4:
        return True
    labels = npz_shapes(path)[1]
    if labels is not None:
        return labels[0] == 1 and array.shape[:2] == labels[1:]
    boxes, _ = _boxes(path)
    return boxes is None or boxes.shape[-1] != 6


def _boxes(path: Path) -> tuple[NDArray | None, tuple[str, ...]]:
    """Return boxes; a notice where they are no plain rows of numbers."""
    try:
        stored = load_arrays(path, ("boxes",)).get("boxes")
    except UnreadableVolume as error:
        if "pickled" not in str(error):
            raise
        return None, ("Its boxes are stored as Python objects and were not read.",)
    if stored is None or stored.size == 0:
        return None, ()
    boxes = np.atleast_2d(stored)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6) or boxes.dtype.kind not in "iuf":
        raise unreadable(
            path,
            f"its boxes have the shape {stored.shape}",
            "Each box needs 4 values in 2D or 6 in 3D.",
        )
    return boxes, ()


def _as_stack(array: NDArray) -> NDArray:
    array = array[np.newaxis] if array.ndim == 2 else array
    return _plain(array)


def _plain(array: NDArray) -> NDArray:
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


def _as_bytes(path: Path, array: NDArray) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 255):
        raise unreadable(
            path, "its colours are not in 0 to 255", "Save colour as uint8."
        )
    return np.rint(array).astype(np.uint8)


def _spacing(
    path: Path, stored: NDArray | None, flat: bool
) -> tuple[tuple[float, float, float], tuple[str, ...]]:
    """Return spacing as (z, y, x); 2D files often give two values or none."""
    if stored is None:
        return (1.0, 1.0, 1.0), (NO_SPACING,)
    if stored.dtype.kind not in "iuf":
        raise unreadable(
            path, f"its spacing is {stored.dtype}, not numbers", COPY_AGAIN
        )
    values = [float(v) for v in np.ravel(stored)]
    if flat and len(values) == 2:
        values.append(1.0)
    if len(values) != 3 or not all(np.isfinite(v) and v > 0 for v in values):
        raise unreadable(
            path,
            f"its spacing is {values}",
            "It must hold three lengths above 0 mm, in the order x, y, z.",
        )
    x, y, z = values
    return (z, y, x), ()


def _stack_shape(shape: tuple[int, ...]) -> Shape:
    padded = (1, *shape) if len(shape) == 2 else shape
    z, y, x = padded[:3] if len(padded) >= 3 else (0, 0, 0)
    return z, y, x


def _is_case(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "imgs.npy" in archive.namelist()
    except (*DAMAGE, ValueError):
        return True  # the reader says what is wrong


NPZ = Format(
    name="npz",
    title="MedSAM case",
    suffixes=(".npz",),
    recognises=is_npz,
    holds_volume=_is_case,
    read=read_npz,
    shape=lambda path: npz_shapes(path)[0],
    read_labels=read_npz_labels,
    written=(".npz",),
    write_labels=write_npz_labels,
    write_image=write_npz_image,
    keeps_place=False,
)
