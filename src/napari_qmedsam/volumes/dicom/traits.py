"""What tells several frames of one place apart: echoes, phases, time points."""

from typing import TYPE_CHECKING

from napari_qmedsam.volumes.dicom.headers import (
    FunctionalGroups,
    Header,
    deep,
    items,
    numbers,
    text,
    whole_number,
)

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


def traits_of(groups: FunctionalGroups) -> tuple[tuple[str, str], ...]:
    """Return by name what the header says of each of `TRAITS`."""
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


def dimensions_of(dataset: "Dataset") -> list[str]:
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


def indices_of(
    groups: FunctionalGroups, dimensions: list[str]
) -> list[tuple[str, str]]:
    """Return what an object counts a frame as, by dimension."""
    content = deep(groups[0], "FrameContentSequence")
    stored = "" if content is None else text(content, "DimensionIndexValues")
    values = stored.split("\\") if stored else []
    names = dimensions + [f"dimension {i + 1}" for i in range(len(values))]
    return list(zip(names, values, strict=False))


def vectors_of(header: Header) -> dict[str, tuple[float, ...]]:
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
