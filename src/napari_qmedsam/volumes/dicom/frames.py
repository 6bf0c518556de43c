"""The frames of DICOM files, each with its place, size and scale."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.dicom.headers import (
    FunctionalGroups,
    Header,
    deep,
    holds,
    items,
    number,
    numbers,
    text,
    whole_number,
)
from napari_qmedsam.volumes.dicom.traits import (
    dimensions_of,
    indices_of,
    traits_of,
    vectors_of,
)
from napari_qmedsam.volumes.files import unreadable

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True)
class Frame:
    """One slice of a DICOM file.

    Parameters
    ----------
    file : Path
    index : int
        Number of the frame in the file, from 0.
    order : tuple of int
        InstanceNumber and `index`.
    uid : str
        SOPInstanceUID.
    size : tuple of int
        Rows and columns.
    orientation : tuple of float or None
        Six direction cosines in LPS, along a row and down a column.
    position : tuple of float or None
        Centre of the first pixel in LPS mm.
    spacing : tuple of float or None
        Pixel size in mm down a column and along a row.
    aspect : tuple of float or None
        Height and width of a pixel in no unit, for frames without `spacing`.
    thickness, between : float or None
        SliceThickness and SpacingBetweenSlices in mm.
    slope, intercept : float or None
        From stored values to intensities.
    scale_type : str
        What the values are called once scaled, such as HU; empty if nothing says it.
    location : float or None
        SliceLocation in mm, for frames without position.
    rank : int or None
        Number of its slice in the stack, for frames without position.
    traits : tuple of (str, str)
        What may tell it from other images of its place; see `TRAITS`.
    segment : int or None
        Segment that a frame of a segmentation belongs to.
    """

    file: Path
    index: int
    order: tuple[int, int]
    uid: str
    size: tuple[int, int]
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None
    between: float | None
    slope: float | None
    intercept: float | None
    scale_type: str = ""
    aspect: tuple[float, ...] | None = None
    location: float | None = None
    rank: int | None = None
    traits: tuple[tuple[str, str], ...] = ()
    segment: int | None = None

    @property
    def normal(self) -> NDArray[np.float64] | None:
        """Unit vector across the slice in LPS; None without a valid orientation."""
        if self.orientation is None:
            return None
        along = np.array(self.orientation)
        normal = np.cross(along[:3], along[3:])
        length = np.linalg.norm(normal)
        return normal / length if 0.99 < length < 1.01 else None


def frames_of(path: Path, header: Header) -> list[Frame]:
    """Return the frames of a file, in the order in which it stores them.

    Parameters
    ----------
    path : Path
        Named in errors.
    header : Header

    Raises
    ------
    UnreadableVolume
        If it declares more frames than it can hold or than it describes.
    """
    dataset, count = header.dataset, header.frame_count
    _check_untiled(path, header)
    # A frame takes eight pixels to a byte, or the head of a packed fragment.
    held = header.file.stat().st_size
    if count * min(header.rows * header.columns / 8, 8) > held:
        raise unreadable(
            path,
            f"'{header.file.name}' declares {count} frames of {header.rows} x "
            f"{header.columns} pixels, but has {held} bytes",
            "Export the series again.",
        )
    shared = items(dataset, "SharedFunctionalGroupsSequence")[:1]
    own = items(dataset, "PerFrameFunctionalGroupsSequence")
    if own and len(own) != count:
        raise unreadable(
            path,
            f"'{header.file.name}' declares {count} frames, but describes {len(own)}",
            "Export the series again.",
        )
    places = _detector_places(dataset, count)
    dimensions = dimensions_of(dataset)
    vectors = vectors_of(header)
    ranks = vectors.pop("slice", None)
    frames = []
    for index in range(count):
        groups = (*own[index : index + 1], *shared, dataset)
        traits = [*traits_of(groups), *indices_of(groups, dimensions)]
        traits += [(name, f"{each[index]:g}") for name, each in vectors.items()]
        rank = _rank(groups)
        if rank is None and ranks is not None:
            rank = int(ranks[index])
        frames.append(_frame(header, index, groups, places[index], tuple(traits), rank))
    return frames


def _check_untiled(path: Path, header: Header) -> None:
    """Refuse what lays several slices, or parts of one, out in a plane."""
    if "TotalPixelMatrixColumns" in header.dataset:
        raise unreadable(
            path,
            f"'{header.file.name}' is a slide of a microscope in tiles",
            "Export the part that is wanted as a picture.",
        )
    if "MOSAIC" in text(header.dataset, "ImageType").split("\\"):
        raise unreadable(
            path,
            f"the slices of '{header.file.name}' stand side by side in one picture "
            "(mosaic)",
            "Convert the series to NIfTI with dcm2niix.",
        )


def _frame(
    header: Header,
    index: int,
    groups: FunctionalGroups,
    place: tuple[float, ...] | None,
    traits: tuple[tuple[str, str], ...],
    rank: int | None,
) -> Frame:
    dataset = header.dataset
    measures = _places(groups, "PixelMeasuresSequence")
    scales = _places(groups, "PixelValueTransformationSequence")
    segment = deep(groups[0], "SegmentIdentificationSequence") or (
        deep(groups[-2], "SegmentIdentificationSequence") if len(groups) > 1 else None
    )
    position = place or _first(
        numbers, _places(groups, "PlanePositionSequence"), "ImagePositionPatient", 3
    )
    orientation = _first(
        numbers,
        _places(groups, "PlaneOrientationSequence"),
        "ImageOrientationPatient",
        6,
    )
    detector = deep(dataset, "DetectorInformationSequence")
    if orientation is None and detector is not None:
        orientation = numbers(detector, "ImageOrientationPatient", 6)
    slope = _scale(header, scales, "RescaleSlope")
    if slope is None:
        slope = _scale(header, [dataset], "DoseGridScaling")
    return Frame(
        file=header.file,
        index=index,
        order=(whole_number(dataset, "InstanceNumber") or 0, index),
        uid=text(dataset, "SOPInstanceUID"),
        size=(header.rows, header.columns),
        orientation=orientation,
        position=position,
        spacing=_spacing(measures, dataset),
        aspect=numbers(dataset, "PixelAspectRatio", 2),
        thickness=_length(_first(number, measures, "SliceThickness")),
        between=_length(_first(number, measures, "SpacingBetweenSlices")),
        slope=slope,
        intercept=_scale(header, scales, "RescaleIntercept"),
        scale_type=next(filter(None, (text(s, "RescaleType") for s in scales)), ""),
        location=_first(number, list(groups), "SliceLocation"),
        rank=rank,
        traits=traits,
        segment=(
            None
            if segment is None
            else whole_number(segment, "ReferencedSegmentNumber")
        ),
    )


def _places(groups: FunctionalGroups, sequence: str) -> list["Dataset"]:
    """Return where an attribute may stand: in a sequence of a group, or bare."""
    found = [deep(group, sequence) for group in groups]
    return [place for place in found if place is not None] + [groups[-1]]


def _first(
    read: Callable[..., Any], places: list["Dataset"], keyword: str, *count: int
) -> Any:
    """Return what `read` finds first in any of the places."""
    values = (read(place, keyword, *count) for place in places)
    return next((value for value in values if value is not None), None)


def _scale(header: Header, places: list["Dataset"], keyword: str) -> float | None:
    """Return a factor of the scale; one that is no number is an error."""
    place = next((place for place in places if holds(place, keyword)), None)
    if place is None:
        return None
    value = number(place, keyword)
    if value is None:
        raise unreadable(
            header.file,
            f"its {keyword} is no number",
            "Export the series with a valid one.",
        )
    return value


def _length(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _spacing(measures: list["Dataset"], dataset: "Dataset") -> tuple[float, ...] | None:
    """Return the pixel size; of a projection that on the detector."""
    for keyword in (
        "PixelSpacing",
        "ImagerPixelSpacing",
        "NominalScannedPixelSpacing",
    ):
        found = _first(numbers, measures, keyword, 2)
        if found is not None and min(found) > 0:
            return found
    region = deep(dataset, "SequenceOfUltrasoundRegions")
    if region is not None and whole_number(region, "PhysicalUnitsXDirection") == 3:
        # Centimetres; a direction may run backwards.
        steps = number(region, "PhysicalDeltaY"), number(region, "PhysicalDeltaX")
        if steps[0] and steps[1]:
            return abs(steps[0]) * 10, abs(steps[1]) * 10
    return None


def _rank(groups: FunctionalGroups) -> int | None:
    content = deep(groups[0], "FrameContentSequence")
    return None if content is None else whole_number(content, "InStackPositionNumber")


def _detector_places(dataset: "Dataset", count: int) -> list[tuple[float, ...] | None]:
    """Return positions of frames that are given by the first one and steps.

    Dose grids hold offsets, tomograms of nuclear medicine a step.
    """
    nothing: list[tuple[float, ...] | None] = [None] * count
    detector = deep(dataset, "DetectorInformationSequence")
    offsets = numbers(dataset, "GridFrameOffsetVector", count)
    source = dataset
    if detector is not None and count > 1:
        step = number(dataset, "SpacingBetweenSlices")
        source = detector
        offsets = None if not step else tuple(step * i for i in range(count))
    first = numbers(source, "ImagePositionPatient", 3)
    axes = numbers(source, "ImageOrientationPatient", 6)
    if offsets is None or first is None or axes is None:
        return nothing
    if offsets[0] != 0 and source is dataset:
        offsets = tuple(offset - offsets[0] for offset in offsets)
    normal = np.cross(axes[:3], axes[3:])
    return [tuple(float(v) for v in first + offset * normal) for offset in offsets]
