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
from napari_qmedsam.volumes.files import unreadable

if TYPE_CHECKING:
    from pydicom import Dataset

TRAITS: dict[str, tuple[tuple[str, str], ...]] = {
    "time point": (
        ("FrameContentSequence", "TemporalPositionIndex"),
        ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
        ("", "TemporalPositionIdentifier"),
    ),
    "echo": (
        ("MREchoSequence", "EffectiveEchoTime"),
        ("", "EchoTime"),
    ),
    "b-value": (
        ("MRDiffusionSequence", "DiffusionBValue"),
        ("", "DiffusionBValue"),
    ),
    "kind of image": (
        ("MRImageFrameTypeSequence", "FrameType"),
        ("CTImageFrameTypeSequence", "FrameType"),
        ("PETFrameTypeSequence", "FrameType"),
        ("", "ImageType"),
    ),
    "contrast component": (
        ("MRImageFrameTypeSequence", "ComplexImageComponent"),
        ("", "ComplexImageComponent"),
    ),
    "cardiac phase": (
        ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
        ("", "NominalPercentageOfCardiacPhase"),
        ("", "TriggerTime"),
    ),
    "inversion time": (
        ("MRModifierSequence", "InversionTimes"),
        ("", "InversionTime"),
    ),
    "flip angle": (
        ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
        ("", "FlipAngle"),
    ),
    "diffusion direction": (
        (
            "MRDiffusionSequence/DiffusionGradientDirectionSequence",
            "DiffusionGradientOrientation",
        ),
        ("", "DiffusionGradientOrientation"),
    ),
    "sequence": (("", "SequenceName"),),
    "energy": (("CTXRayDetailsSequence", "EnergyWeightingFactor"), ("", "KVP")),
    "stack": (("FrameContentSequence", "StackID"),),
    "acquisition": (
        ("FrameContentSequence", "FrameAcquisitionNumber"),
        ("", "AcquisitionNumber"),
    ),
    "acquisition time": (
        ("FrameContentSequence", "FrameAcquisitionDateTime"),
        ("", "AcquisitionDateTime"),
        ("", "AcquisitionTime"),
    ),
    "scan": (("", "AcquisitionUID"), ("", "ImageComments")),
    "content time": (("", "ContentTime"),),
}
"""What can tell several images of one place apart: sequences and attribute."""

VECTORS = {
    "energy window": "EnergyWindowVector",
    "detector": "DetectorVector",
    "phase": "PhaseVector",
    "rotation": "RotationVector",
    "interval": "RRIntervalVector",
    "time slot": "TimeSlotVector",
    "view": "AngularViewVector",
    "time slice": "TimeSliceVector",
}
"""The same of nuclear medicine: a number for each frame, in one attribute."""

FILMS = (
    "1.2.840.10008.5.1.4.1.1.3",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.12.1",
    "1.2.840.10008.5.1.4.1.1.12.2",
)
"""Ultrasound, angiography and fluoroscopy: frames follow each other in time."""

TIMES = ("(0018,1063)", "(0018,1065)")
"""FrameTime and FrameTimeVector, which FrameIncrementPointer names for a film."""


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
    thickness, between : float or None
        SliceThickness and SpacingBetweenSlices in mm.
    slope, intercept : float or None
        From stored values to intensities.
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
    dimensions = _dimensions(dataset)
    vectors = _vectors(header)
    ranks = vectors.pop("slice", None)
    frames = []
    for index in range(count):
        groups = (*own[index : index + 1], *shared, dataset)
        traits = [*_traits(groups), *_indices(groups, dimensions)]
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
        thickness=_length(_first(number, measures, "SliceThickness")),
        between=_length(_first(number, measures, "SpacingBetweenSlices")),
        slope=slope,
        intercept=_scale(header, scales, "RescaleIntercept"),
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


def _traits(groups: FunctionalGroups) -> tuple[tuple[str, str], ...]:
    found = []
    for name, places in TRAITS.items():
        for sequence, keyword in places:
            if sequence:
                inner = (deep(group, *sequence.split("/")) for group in groups)
                values = [text(place, keyword) for place in inner if place is not None]
            else:
                values = [text(groups[-1], keyword)]
            value = next((value for value in values if value), "")
            if value:
                found.append((name, value))
                break
    return tuple(found)


def _dimensions(dataset: "Dataset") -> list[str]:
    """Return the name of each dimension by which an object sorts its frames."""
    from pydicom.datadict import keyword_for_tag

    names = []
    for place, item in enumerate(items(dataset, "DimensionIndexSequence"), start=1):
        pointer = whole_number(item, "DimensionIndexPointer")
        name = text(item, "DimensionDescriptionLabel")
        if not name and pointer is not None:
            name = keyword_for_tag(pointer)
        names.append(name or f"dimension {place}")
    return names


def _indices(groups: FunctionalGroups, dimensions: list[str]) -> list[tuple[str, str]]:
    """Return what an object counts a frame as, by dimension."""
    content = deep(groups[0], "FrameContentSequence")
    stored = "" if content is None else text(content, "DimensionIndexValues")
    values = stored.split("\\") if stored else []
    names = dimensions + [f"dimension {i + 1}" for i in range(len(values))]
    return list(zip(names, values, strict=False))


def _rank(groups: FunctionalGroups) -> int | None:
    content = deep(groups[0], "FrameContentSequence")
    return None if content is None else whole_number(content, "InStackPositionNumber")


def _vectors(header: Header) -> dict[str, tuple[float, ...]]:
    """Return what one attribute holds for all frames; "slice" is their place.

    The frames of a film, and those of nuclear medicine without slices, all show
    the same place.
    """
    count = header.frame_count
    found = {}
    for name, keyword in VECTORS.items():
        values = numbers(header.dataset, keyword, count)
        if values is not None:
            found[name] = values
    if count > 1 and _is_film(header):
        found["time point"] = tuple(float(i + 1) for i in range(count))
    slices = numbers(header.dataset, "SliceVector", count)
    if slices is not None:
        found["slice"] = slices
    elif found:
        found["slice"] = (0.0,) * count
    return found


def _is_film(header: Header) -> bool:
    pointers = text(header.dataset, "FrameIncrementPointer")
    if pointers:
        return any(time in pointers for time in TIMES)
    return header.sop_class in FILMS


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
