"""Reading one DICOM series as a volume, and its record as a format."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.cleaning import rescaled
from napari_qmedsam.volumes.dicom.frames import Frame
from napari_qmedsam.volumes.dicom.headers import (
    DAMAGE,
    Header,
    is_dicom,
    items,
    quiet_pydicom,
    text,
    whole_number,
)
from napari_qmedsam.volumes.dicom.pixels import read_pixels
from napari_qmedsam.volumes.dicom.segmentation import (
    holds_segmentation,
    read_segmentation,
)
from napari_qmedsam.volumes.dicom.segmentation_writing import (
    why_no_segmentation,
    write_segmentation,
)
from napari_qmedsam.volumes.dicom.series import Series, choose_series, holds_dicom
from napari_qmedsam.volumes.dicom.stack import Stack, stack_frames
from napari_qmedsam.volumes.dicom.structures import holds_structures, read_structures
from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.formats import WHOLE, Format, Selection, Shape
from napari_qmedsam.volumes.volume import Modality, Source, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger(__name__)

NO_SCALE = (
    "The files carry no rescale slope and intercept; their values are taken for HU as "
    "they are stored."
)
"""What is assumed of such CT, which the standard does not have."""

ON_DETECTOR = (
    "Its pixels are measured on the detector, and are smaller in the patient, whom a "
    "projection magnifies."
)
"""What ImagerPixelSpacing is, where nothing else gives a size."""

UNSPECIFIED = "US"
"""The RescaleType that says nothing; ITK writes it with CT in HU."""

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


def read_dicom(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read one series of a folder, or the series that a file belongs to.

    Slices lie where ImagePositionPatient says. Missing slices or uneven gaps
    cannot be shown on a regular grid: the usual (median) gap becomes the
    spacing, so that every slice keeps its thickness, and a notice says where
    the grid departs from the patient. Each frame is scaled by its own slope
    and intercept.

    Parameters
    ----------
    path : Path
        Folder, or one file.
    selection : Selection
        `series` is needed if a folder holds several. `frame` chooses one of
        several images of the same slices: time points, echoes, Dixon images.

    Raises
    ------
    AmbiguousSeries
        If several series fit. Series are never merged.
    UnreadableVolume
        If nothing fits, or the slices do not make a volume.
    """
    chosen = choose_series(path, selection.series)
    stack = _stack(path, chosen, selection.frame)
    array = _stored(path, chosen, stack)
    array, notices = _unpadded(array, chosen.headers[0].dataset)
    array, more = _intensities(path, array, chosen, stack.frames)
    notices = chosen.notices + notices + more
    dataset = chosen.headers[0].dataset
    if "ImagerPixelSpacing" in dataset and "PixelSpacing" not in dataset:
        notices += (ON_DETECTOR,)
    colour = array.ndim == 4
    modality = MODALITIES.get(text(dataset, "Modality"), Modality.OTHER)
    return Volume(
        array=array,
        spacing_mm=stack.spacing_mm,
        affine=stack.affine,
        modality=Modality.COLOUR if colour else modality,
        source=Source(str(path), "dicom", series=chosen.uid),
        notices=stack.notices + notices,
    )


def read_dicom_labels(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read labels: a DICOM SEG, contours, or an image series with them as values."""
    if holds_structures(path):
        return read_structures(path, selection)
    if holds_segmentation(path, selection.series):
        return read_segmentation(path, selection)
    return read_dicom(path, selection)


def read_shape(path: Path) -> Shape:
    """Return the shape of the one series of a folder, or of that of a file."""
    if holds_segmentation(path):
        return read_segmentation(path).shape
    chosen = choose_series(path, None)
    stack = _stack(path, chosen)
    return (len(stack.frames), *stack.frames[0].size)


def _stack(path: Path, chosen: Series, wanted: int | None = None) -> Stack:
    headers = {header.file: header for header in chosen.headers}

    def same_pixels(a: Frame, b: Frame) -> bool:
        one, other = (
            read_pixels(path, headers[frame.file], [frame.index]) for frame in (a, b)
        )
        is_scaled_alike = (a.slope, a.intercept) == (b.slope, b.intercept)
        return is_scaled_alike and np.array_equal(one, other)

    return stack_frames(path, chosen.frames(path), same_pixels, wanted)


def _stored(path: Path, chosen: Series, stack: Stack) -> NDArray:
    """Return the pixels of a stack as stored, file by file."""
    headers = {header.file: header for header in chosen.headers}
    places: dict[Header, list[int]] = defaultdict(list)
    for place, frame in enumerate(stack.frames):
        places[headers[frame.file]].append(place)
    array: NDArray | None = None
    for header, slots in places.items():
        pixels = read_pixels(path, header, [stack.frames[i].index for i in slots])
        if array is None:
            array = np.empty((len(stack.frames), *pixels.shape[1:]), pixels.dtype)
        if pixels.shape[1:] != array.shape[1:]:
            raise unreadable(
                path,
                f"some of its slices are grey and others not ('{header.file.name}')",
                "Export the series without summary pictures.",
            )
        dtype = np.result_type(array, pixels)
        if dtype != array.dtype:
            array = array.astype(dtype)
        array[slots] = pixels
    assert array is not None  # a series has at least one file
    return array


def _unpadded(array: NDArray, dataset: "Dataset") -> tuple[NDArray, tuple[str, ...]]:
    """Replace padding that is brighter than the image by its smallest value.

    Darker padding, such as -2000 around a CT, does no harm and stays. Low values
    that stand for white are told.
    """
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        notice = (
            "Low values stand for white in it (MONOCHROME1); they are kept as they "
            "are, so it is shown inverted."
        )
        return array, (notice,)
    ends = [
        whole_number(dataset, keyword)
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
    ]
    if ends[0] is None or array.ndim == 4 or array.dtype.kind not in "iu":
        return array, ()
    top = 1 << (whole_number(dataset, "BitsAllocated") or 16)
    is_signed = array.dtype.kind == "i"  # but may be stored without
    padding = [e - top * (is_signed and e >= top // 2) for e in ends if e is not None]
    low, high = min(padding), max(padding)
    lowest = array.min()
    if not low <= array.max() <= high or lowest >= low:
        return array, ()
    count = 0
    for plane in array:
        is_padding = plane >= low
        count += int(np.count_nonzero(is_padding))
        plane[is_padding] = lowest
    values = f"value {low}" if low == high else f"values {low} to {high}"
    notice = (
        f"{count} voxels held the padding {values} and now hold the smallest stored "
        "value."
    )
    return array, (notice,)


def _intensities(
    path: Path, array: NDArray, chosen: Series, frames: Sequence[Frame]
) -> tuple[NDArray, tuple[str, ...]]:
    """Apply the scale of every frame, or the lookup table of its file."""
    headers = {header.file: header.dataset for header in chosen.headers}
    with_table = {
        frame.file
        for frame in frames
        if items(headers[frame.file], "ModalityLUTSequence")
    }
    if not with_table:
        array, notices = _scaled(path, array, frames)
        is_ct = text(chosen.headers[0].dataset, "Modality") == "CT" and array.ndim == 3
        if is_ct and all(f.slope is None and f.intercept is None for f in frames):
            notices += (NO_SCALE,)
        kinds = {frame.scale_type for frame in frames} - {"", "HU", UNSPECIFIED}
        if is_ct and kinds:
            notice = (
                f"The files call their values {' and '.join(sorted(kinds))} "
                "(RescaleType) and not HU; a window in HU may not fit them."
            )
            notices += (notice,)
        return array, notices
    if len(with_table) < len({frame.file for frame in frames}):
        raise unreadable(
            path,
            "some of its slices have a lookup table of the modality and others not",
            "Export the series again.",
        )
    from pydicom.pixels.processing import apply_modality_lut

    try:
        with quiet_pydicom():
            planes = [
                apply_modality_lut(plane, headers[frame.file])
                for plane, frame in zip(array, frames, strict=True)
            ]
    except DAMAGE as error:
        logger.debug("%s: %s", path, error)
        raise unreadable(
            path,
            "its lookup table of the modality is damaged",
            "Export the series again.",
        ) from error
    return np.stack(planes), ()


def _scaled(
    path: Path, array: NDArray, frames: Sequence[Frame]
) -> tuple[NDArray, tuple[str, ...]]:
    """Apply slope and intercept of every frame; integers stay where they can."""
    if array.ndim == 4:
        if array.dtype != np.uint8:
            raise unreadable(
                path,
                f"its colours are stored as {array.dtype}",
                "Export grey values or 8-bit colour.",
            )
        return array, ()
    pairs = [(f.slope, f.intercept) for f in frames]
    for slope, _ in pairs:
        if slope == 0:
            raise unreadable(
                path, "its rescale slope is 0", "Export the series with a valid one."
            )
    scales = [
        (1.0 if slope is None else slope, 0.0 if intercept is None else intercept)
        for slope, intercept in pairs
    ]
    bare = sum(pair == (None, None) for pair in pairs)
    notices: tuple[str, ...] = ()
    if 0 < bare < len(pairs):
        notice = (
            f"{bare} of {len(pairs)} slices carry no rescale slope and intercept; "
            "their values are as stored, and may not match the others."
        )
        notices = (notice,)
    if len(set(scales)) == 1:
        return rescaled(array, *scales[0]), notices
    result = np.empty(array.shape, np.float32)
    for plane, stored, (slope, intercept) in zip(result, array, scales, strict=True):
        plane[...] = stored * np.float64(slope) + intercept
    return result, notices


DICOM = Format(
    name="dicom",
    title="DICOM",
    suffixes=(".dcm", ".dicom", ".ima"),
    recognises=is_dicom,
    read=read_dicom,
    shape=read_shape,
    holds_volume=lambda path: not path.is_dir() or holds_dicom(path),
    holds_labels=lambda path: not path.is_dir() and holds_segmentation(path),
    read_labels=read_dicom_labels,
    written=(".dcm",),
    write_labels=write_segmentation,
    why_not=why_no_segmentation,
    names_modality=True,
    has_series=True,
)
