"""Labels as DICOM SEG, through highdicom."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import QMedSAMError
from napari_qmedsam.volumes.dicom.headers import DAMAGE, quiet_pydicom, read_dataset
from napari_qmedsam.volumes.dicom.series import Series, choose_series
from napari_qmedsam.volumes.grid import LPS_FROM_RAS
from napari_qmedsam.volumes.segments import Segment
from napari_qmedsam.volumes.volume import Volume

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom import Dataset

MAKER = "napari-qmedsam"

SEGMENT_LIMIT = 255
"""Highest label that is written: every number up to it becomes a segment."""

REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""What every object must have; written empty."""

IDENTIFYING = "Physician|Patient|Operator|Institution|Description|Admitting|Request"
"""Words of keywords of group 0008 and 0040 that are left out."""

PERSONAL_GROUPS = frozenset({0x0010, 0x0012, 0x0032, 0x0038})
"""Patient, clinical trial, visit and order: left out as a whole.

highdicom would copy them from the image. The identifiers of study, series and
frame of reference stay: by them archives and viewers find the image that the
segments lie on.
"""


def why_no_segmentation(like: Volume) -> str | None:
    """Return why labels of a volume cannot be a DICOM SEG; None if they can."""
    if find_spec("highdicom") is None:
        return (
            "writing DICOM SEG needs highdicom, which is not installed; run "
            "pip install 'napari-qmedsam[dicom]'"
        )
    if like.source.format != "dicom":
        return "DICOM SEG refers to a DICOM series, and the image is from none"
    return None


def write_segmentation(array: NDArray, like: Volume, path: Path) -> None:
    """Write labels as a binary DICOM SEG on the slices of their series.

    Parameters
    ----------
    array : ndarray, (Z, Y, X) unsigned integers
    like : Volume
        As read from the series; its `segments` name the labels.
    path : Path

    Raises
    ------
    OSError
        If the series cannot be read again or referred to, or labels are above
        `SEGMENT_LIMIT`.
    """
    source = like.source
    highest = int(array.max())
    if not 0 < highest <= SEGMENT_LIMIT:
        raise OSError(
            "there are no labels to write"
            if highest == 0
            else f"labels go up to {highest}, but segments are numbered to "
            f"{SEGMENT_LIMIT}"
        )
    with quiet_pydicom():
        try:
            series = choose_series(Path(source.path), source.series or None)
            images = _images(series)
        except (QMedSAMError, *DAMAGE) as error:
            raise OSError(f"its image cannot be read again ({error})") from error
        try:
            segmentation = _segmentation(array, like, images)
        except DAMAGE as error:
            raise OSError(f"highdicom cannot refer to its image ({error})") from error
        segmentation.save_as(path, enforce_file_format=True)


# Helpers ------------------------------------------------------------------


def _segmentation(
    array: NDArray, like: Volume, images: list["Dataset"]
) -> "Segmentation":
    import highdicom as hd

    from napari_qmedsam import __version__

    # One mask per segment: numbers then need not be in use without a gap.
    numbers = range(1, int(array.max()) + 1)
    masks = array[..., None] == np.array(numbers, dtype=array.dtype)
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=hd.Volume(
            masks.astype(np.uint8),
            _index_affine(like),
            coordinate_system="PATIENT",
            frame_of_reference_uid=images[0].FrameOfReferenceUID,
            channels={"SegmentNumber": list(numbers)},
        ),
        segmentation_type="BINARY",
        segment_descriptions=_descriptions(like, numbers),
        series_instance_uid=hd.UID(),
        series_number=int(images[0].get("SeriesNumber") or 0) + 100,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=__version__,
        device_serial_number="0",
        content_label="SEGMENTATION",
        series_description="QMedSAM segmentation",
    )


def _images(series: Series) -> list["Dataset"]:
    """Return the image files without personal data and without pixels."""
    images: list[Dataset] = []
    for header in series.headers:
        dataset = read_dataset(header.file, pixels=False)
        _forget_the_patient(dataset)
        # Scripts leave them out, or make one up for every slice.
        first = images[0] if images else dataset
        dataset.StudyInstanceUID = first.get("StudyInstanceUID") or series.uid
        dataset.FrameOfReferenceUID = first.get("FrameOfReferenceUID") or series.uid
        images.append(dataset)
    return images


def _forget_the_patient(dataset: "Dataset") -> None:
    for element in list(dataset):
        tag, keyword = element.tag, element.keyword
        is_named = tag.group in (0x0008, 0x0040) and re.search(IDENTIFYING, keyword)
        if tag.group in PERSONAL_GROUPS or tag.is_private or is_named:
            del dataset[tag]
    for keyword in REQUIRED:
        setattr(dataset, keyword, None)


def _index_affine(like: Volume) -> NDArray[np.float64]:
    """Return the map from (z, y, x) indices to LPS mm, as highdicom has it."""
    lps = LPS_FROM_RAS @ like.affine
    return lps[:, [2, 1, 0, 3]]


def _descriptions(like: Volume, numbers: range) -> list["SegmentDescription"]:
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    from napari_qmedsam import __version__

    known = {segment.number: segment for segment in like.segments}
    algorithm = hd.AlgorithmIdentificationSequence(
        name=MAKER, version=__version__, family=codes.cid7162.ArtificialIntelligence
    )
    descriptions = []
    for number in numbers:
        segment = known.get(number, Segment(number, f"object {number}"))
        category, kind = (
            Code(code.value, code.scheme, code.meaning)
            for code in (segment.category, segment.kind)
        )
        descriptions.append(
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=segment.name[:64],
                segmented_property_category=category,
                segmented_property_type=kind,
                algorithm_type="SEMIAUTOMATIC",
                algorithm_identification=algorithm,
                tracking_uid=hd.UID(),
                tracking_id=f"{segment.name[:40]} {number}",
                display_color=None
                if segment.colour is None
                else hd.color.CIELabColor.from_rgb(*segment.colour),
            )
        )
    return descriptions
