"""Contours of an RT structure set as labels on the slices of an image.

pydicom reads the points, and scikit-image fills them. A structure set has no grid of
its own, so it is read onto the image that it was drawn on.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.dicom.headers import (
    STRUCTURES,
    items,
    numbers,
    quiet_pydicom,
    read_header,
    text,
    whole_number,
)
from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.formats import Selection
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.grid import LPS_FROM_RAS
from napari_qmedsam.volumes.segments import Segment
from napari_qmedsam.volumes.volume import Modality, Source, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

CLOSED = ("CLOSED_PLANAR", "CLOSED_PLANAR_XOR", "CLOSEDPLANAR_XOR")
"""Contours that enclose an area; points and open lines enclose none."""

SLICE_TOLERANCE = 0.25
"""Slices by which a contour may lie off one."""

NUMBERS = range(1, 1 << 16)
"""Numbers of structures that may be numbers of labels."""

EXPORT_AGAIN = "Export the structures again, on the slices of this image."


def holds_structures(path: Path) -> bool:
    """Tell whether a file is an RT structure set."""
    if path.is_dir():
        return False
    with quiet_pydicom():
        header = read_header(path)
    return header is not None and header.sop_class == STRUCTURES


def read_structures(path: Path, selection: Selection) -> Volume:
    """Read an RT structure set as labels on the grid of its image.

    A voxel belongs to a structure if its centre lies within a contour of its slice, or
    on its line. A contour within another of the same structure is a hole.

    Parameters
    ----------
    path : Path
    selection : Selection
        `like` is the image.

    Returns
    -------
    Volume
        Numbers of the structures (counted from 1 where one is no number of a label),
        0 outside; `segments` has names and colours.

    Raises
    ------
    UnreadableVolume
        If no image is given, or the contours are damaged or not drawn on its slices.
    """
    choose_frame(path, selection.frame, 1)
    like = selection.like
    if like is None:
        raise unreadable(
            path,
            "it is an RT structure set, whose contours have no grid of their own",
            "Give it as the labels of the image that it was drawn on.",
        )
    header = read_header(path)
    assert header is not None  # holds_structures looked
    with quiet_pydicom():
        dataset = header.dataset
        segments = _segments(path, dataset)
        labels = np.zeros(like.shape, np.uint16)
        overlaps = left_out = 0
        drawn = {
            whole_number(item, "ReferencedROINumber"): items(item, "ContourSequence")
            for item in items(dataset, "ROIContourSequence")
        }
        for roi, segment in sorted(segments.items(), key=lambda pair: pair[1].number):
            inside, others = _filled(path, drawn.get(roi, []), like)
            left_out += others
            for z, plane in inside.items():
                overlaps += int(np.count_nonzero(labels[z][plane]))
                labels[z][plane] = segment.number
        notices = _notices(dataset, like, overlaps, left_out)
    if not labels.any():
        raise unreadable(
            path, "none of its contours encloses a voxel of the image", EXPORT_AGAIN
        )
    return Volume(
        array=labels,
        spacing_mm=like.spacing_mm,
        affine=like.affine,
        modality=Modality.OTHER,
        source=Source(str(path), "dicom"),
        notices=notices,
        segments=tuple(sorted(segments.values(), key=lambda s: s.number)),
    )


# Helpers ------------------------------------------------------------------


def _segments(path: Path, dataset: "Dataset") -> dict[int, Segment]:
    """Return a segment for each structure, by its number in the file."""
    colours = {
        whole_number(item, "ReferencedROINumber"): numbers(item, "ROIDisplayColor", 3)
        for item in items(dataset, "ROIContourSequence")
    }
    names = {}
    for item in items(dataset, "StructureSetROISequence"):
        roi = whole_number(item, "ROINumber")
        if roi is None or roi in names:
            raise unreadable(
                path, f"its structures are numbered {roi}, or twice so", EXPORT_AGAIN
            )
        names[roi] = text(item, "ROIName") or f"structure {roi}"
    if not names:
        raise unreadable(path, "it holds no structures", EXPORT_AGAIN)
    keeps = all(roi in NUMBERS for roi in names)
    found = {}
    for place, (roi, name) in enumerate(names.items(), start=1):
        stored = colours.get(roi)
        colour = None
        if stored is not None and all(0 <= value <= 255 for value in stored):
            red, green, blue = (int(value) for value in stored)
            colour = red, green, blue
        found[roi] = Segment(roi if keeps else place, name, colour=colour)
    return found


def _filled(
    path: Path, contours: list["Dataset"], like: Volume
) -> tuple[dict[int, NDArray[np.bool_]], int]:
    """Return the filled contours of a structure by slice, and how many are not closed.

    Raises
    ------
    UnreadableVolume
        If points are damaged, or lie on no slice.
    """
    from skimage.draw import polygon

    to_voxels = np.linalg.inv(LPS_FROM_RAS @ like.affine)
    planes: dict[int, NDArray[np.bool_]] = {}
    others = 0
    for contour in contours:
        if text(contour, "ContourGeometricType").upper() not in CLOSED:
            others += 1
            continue
        count = whole_number(contour, "NumberOfContourPoints") or 0
        stored = numbers(contour, "ContourData", 3 * count)
        if stored is None or count < 1:
            raise unreadable(
                path,
                f"a contour of {count} points has not {3 * count} numbers",
                EXPORT_AGAIN,
            )
        points = np.column_stack([np.reshape(stored, (count, 3)), np.ones(count)])
        x, y, slices = (to_voxels @ points.T)[:3]
        z = float(np.rint(slices.mean()))
        off = float(np.abs(slices - z).max())
        if not off <= SLICE_TOLERANCE:
            raise unreadable(
                path,
                f"a contour lies {off:.2g} slices off the slices of the image",
                EXPORT_AGAIN,
            )
        if not 0 <= z < like.shape[0]:
            others += 1
            continue
        area = np.zeros(like.shape[1:], bool)
        area[polygon(y, x, area.shape)] = True
        z_index = int(z)
        planes[z_index] = planes[z_index] ^ area if z_index in planes else area
    return planes, others


def _notices(
    dataset: "Dataset", like: Volume, overlaps: int, left_out: int
) -> tuple[str, ...]:
    notices: tuple[str, ...] = ()
    if left_out:
        notice = (
            f"{left_out} contours were left out: they are points or open lines, or lie "
            "beyond the slices of the image."
        )
        notices += (notice,)
    if overlaps:
        notices += (
            f"Structures overlap in {overlaps} voxels; the higher number was taken.",
        )
    series = {
        text(each, "SeriesInstanceUID")
        for frame in items(dataset, "ReferencedFrameOfReferenceSequence")
        for study in items(frame, "RTReferencedStudySequence")
        for each in items(study, "RTReferencedSeriesSequence")
    }
    if series and like.source.series and like.source.series not in series:
        notices += ("The structures were drawn on another series than this image.",)
    return notices
