"""DICOM headers through pydicom: what a file is, and its attributes as numbers."""

import logging
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger(__name__)

MARK = b"DICM"
"""At byte 128 of most DICOM files; some scanners leave the first 132 bytes out."""

DAMAGE = (Exception,)
"""What pydicom raises on damaged files: whatever it happens to meet in them."""

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage and Label Map Segmentation Storage."""

STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
"""RT Structure Set Storage: contours in mm, no voxels."""

DIRECTORY = "1.2.840.10008.1.3.10"
"""What a DICOMDIR is: a list of the files of a disc."""

DEFLATED = "1.2.840.10008.1.2.1.99"
"""The transfer syntax in which the whole file is packed."""

INFLATED_LIMIT = 1 << 28
"""Bytes to which a deflated file may grow, unless it is large itself."""

FunctionalGroups = tuple["Dataset", ...]
"""Places where an attribute may stand, the most specific first."""


class ObjectKind(Enum):
    """What a DICOM object holds, as far as reading goes."""

    IMAGE = "image"
    SEGMENTATION = "segmentation"
    OTHER = "other"


@dataclass(frozen=True, eq=False)
class Header:
    """A DICOM file without its pixels.

    Parameters
    ----------
    file : Path
    dataset : Dataset
    """

    file: Path
    dataset: "Dataset"

    @property
    def kind(self) -> ObjectKind:
        """Tell images by their size and segmentations by their class."""
        if text(self.dataset, "SOPClassUID") in SEGMENTATIONS:
            return ObjectKind.SEGMENTATION
        if self.rows and self.columns:
            return ObjectKind.IMAGE
        return ObjectKind.OTHER

    @property
    def class_name(self) -> str:
        """The name of its SOP class: "CT Image Storage", say."""
        from pydicom.uid import UID

        return UID(self.sop_class).name or "object without a class"

    @property
    def sop_class(self) -> str:
        """Its SOPClassUID; that of a DICOMDIR stands in the file's meta information."""
        return text(self.dataset, "SOPClassUID") or _media_class(self.dataset)

    @property
    def rows(self) -> int:
        """Pixels down the image, 0 where none are declared."""
        return whole_number(self.dataset, "Rows") or 0

    @property
    def columns(self) -> int:
        """Pixels across the image, 0 where none are declared."""
        return whole_number(self.dataset, "Columns") or 0

    @property
    def frame_count(self) -> int:
        """Frames that the file declares."""
        return max(1, whole_number(self.dataset, "NumberOfFrames") or 1)


def read_header(file: Path) -> Header | None:
    """Return the header of a DICOM file; None if it is none, or is damaged."""
    try:
        with file.open("rb") as stream:
            head = stream.read(256)
        if not is_dicom(head):
            return None
        dataset = read_dataset(file, pixels=False)
    except DAMAGE as error:
        logger.debug("%s: %s", file, error)
        return None
    header = Header(file, dataset)
    if not text(dataset, "SOPClassUID") and "Rows" not in dataset:
        return header if header.sop_class == DIRECTORY else None
    return header


def read_dataset(file: Path, *, pixels: bool) -> "Dataset":
    """Read a file; one of `DAMAGE` comes out where it is damaged."""
    import pydicom

    with quiet_pydicom():
        _check_deflated(file)
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=not pixels)
        meta = dataset.file_meta
        if "TransferSyntaxUID" not in meta:
            implicit, little = dataset.original_encoding
            meta.TransferSyntaxUID = (
                pydicom.uid.ImplicitVRLittleEndian
                if implicit
                else pydicom.uid.ExplicitVRLittleEndian
                if little
                else pydicom.uid.ExplicitVRBigEndian
            )
    return dataset


def is_dicom(head: bytes) -> bool:
    """Tell DICOM by its mark, or by a first element where the mark is left out."""
    if head[128:132] == MARK:
        return True
    orders = {b"\x02\x00": "<", b"\x08\x00": "<", b"\x00\x02": ">", b"\x00\x08": ">"}
    order = orders.get(head[:2])
    if order is None or len(head) < 8:
        return False
    group, element = struct.unpack(f"{order}HH", head[:4])
    if re.fullmatch(rb"[A-Z]{2}", head[4:6]):
        return head[4:6] in (b"UL", b"UI", b"CS", b"DA", b"SH", b"OB", b"LO", b"TM")
    # Without a type the length follows; the first elements of group 8 are short.
    (length,) = struct.unpack(f"{order}I", head[4:8])
    return group == 8 and element <= 0x60 and length <= 256


def text(dataset: "Dataset", keyword: str) -> str:
    """Return an attribute as text without padding; empty if there is none."""
    value = _value(dataset, keyword)
    if value is None:
        return ""
    parts = value if _is_sequence(value) else [value]
    return "\\".join(str(part) for part in parts).strip(" \0")


def numbers(dataset: "Dataset", keyword: str, count: int) -> tuple[float, ...] | None:
    """Return an attribute as `count` finite numbers; None if it is not that."""
    value = _value(dataset, keyword)
    parts = value if _is_sequence(value) else [value]
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        return None
    if len(found) != count or not all(math.isfinite(number) for number in found):
        return None
    return found


def number(dataset: "Dataset", keyword: str) -> float | None:
    """Return an attribute as one finite number; None if it is not that."""
    found = numbers(dataset, keyword, 1)
    return None if found is None else found[0]


def holds(dataset: "Dataset", keyword: str) -> bool:
    """Tell whether an attribute has a value, be it damaged."""
    try:
        found = dataset.get_item(keyword)
    except DAMAGE as error:
        logger.debug("%s: %s", keyword, error)
        return True
    value = None if found is None else found.value
    return value is not None and str(value).strip("b' \\0") != ""


def whole_number(dataset: "Dataset", keyword: str) -> int | None:
    """Return an attribute as a whole number; None if it is not that."""
    found = number(dataset, keyword)
    return None if found is None else int(found)


def items(dataset: "Dataset", keyword: str) -> list["Dataset"]:
    """Return the items of a sequence; none if it is missing."""
    value = _value(dataset, keyword)
    return list(value) if _is_sequence(value) else []


def deep(dataset: "Dataset", *keywords: str) -> "Dataset | None":
    """Return the first item of the last of nested sequences."""
    for keyword in keywords:
        found = items(dataset, keyword)
        if not found:
            return None
        dataset = found[0]
    return dataset


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from remarks on headers; what matters is said by our notices."""
    from pydicom import config

    settings = config.settings
    before = settings.reading_validation_mode
    level = config.logger.level
    settings.reading_validation_mode = config.IGNORE
    config.logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        settings.reading_validation_mode = before
        config.logger.setLevel(level)


# Helpers ------------------------------------------------------------------


def _value(dataset: "Dataset", keyword: str) -> Any:
    try:
        return dataset.get(keyword)
    except DAMAGE as error:
        logger.debug("%s: %s", keyword, error)
        return None


def _media_class(dataset: "Dataset") -> str:
    meta = getattr(dataset, "file_meta", None)
    return "" if meta is None else text(meta, "MediaStorageSOPClassUID")


def _is_sequence(value: object) -> bool:
    from pydicom.multival import MultiValue
    from pydicom.sequence import Sequence

    return isinstance(value, (MultiValue, Sequence, list))


def _check_deflated(file: Path) -> None:
    """Refuse a file that would unpack to far more than its size."""
    import pydicom

    with file.open("rb") as stream:
        if stream.read(132)[128:] != MARK:
            return
    meta = pydicom.filereader.read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") != DEFLATED:
        return
    packed = file.read_bytes()
    limit = max(INFLATED_LIMIT, 20 * len(packed))
    start = 144 + int(meta.get("FileMetaInformationGroupLength", 0))
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    size, rest = 0, packed[start:]
    while rest and not inflate.eof:
        size += len(inflate.decompress(rest, 1 << 22))
        rest = inflate.unconsumed_tail
        if size > limit:
            raise ValueError(f"it unpacks to more than {limit} bytes")
