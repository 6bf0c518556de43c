"""Pixels of DICOM frames as they are stored, before any scale."""

import logging
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes.dicom.headers import (
    DAMAGE,
    Header,
    ObjectKind,
    quiet_pydicom,
    read_dataset,
    text,
    whole_number,
)
from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.itk import quiet_itk

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger(__name__)

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
"""Attributes that hold pixels."""

PACKED_LIMIT = 1 << 26
"""Bytes that packed pixels may declare, whatever their length."""

PACKED_RATIO = 2000
"""No codec packs more tightly than about this."""

SECONDARY = {
    (1, False): "1.2.840.10008.5.1.4.1.1.7",
    (3, False): "1.2.840.10008.5.1.4.1.1.7",
    (1, True): "1.2.840.10008.5.1.4.1.1.7.3",
    (3, True): "1.2.840.10008.5.1.4.1.1.7.4",
}
"""Secondary Capture classes by samples per pixel, and whether there are frames."""

PLAIN = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)
"""Transfer syntaxes with plain pixels: implicit, explicit, deflated, big-endian."""

PACKED = (
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
)
"""Those that GDCM unpacks: RLE, JPEG, JPEG-LS and JPEG 2000."""

KEPT = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "PixelData",
)
"""Attributes by which pixels are decoded."""


def read_pixels(path: Path, header: Header, indices: list[int]) -> NDArray:
    """Return frames of a file as stored, (n, rows, columns) or (..., 3) uint8.

    Plain grey pixels are taken as they are; packed ones and colours are decoded
    by GDCM, which knows more codecs than pydicom, from a copy without any scale.

    Parameters
    ----------
    path : Path
        What the user named, for errors.
    header : Header
    indices : list of int

    Raises
    ------
    UnreadableVolume
        If pixels are missing or damaged, or cannot be decoded.
    """
    with quiet_pydicom():
        try:
            dataset = read_dataset(header.file, pixels=True)
            name = next((name for name in PIXELS if name in dataset), None)
            if name is None:
                raise unreadable(
                    path,
                    f"'{header.file.name}' holds no pixels, or is cut short",
                    "Export the series again.",
                )
            _check_codec(path, header, dataset)
            _check_size(path, header, dataset, len(dataset[name].value))
            if header.kind is ObjectKind.SEGMENTATION:
                # A label map may have a palette; its labels are the numbers.
                dataset.PhotometricInterpretation = "MONOCHROME2"
            if dataset.file_meta.TransferSyntaxUID.is_encapsulated or _is_colour(
                dataset
            ):
                return _through_gdcm(dataset)[indices]
            return np.stack([_plain(dataset, index) for index in indices])
        except UnreadableVolume:
            raise
        except (*DAMAGE, RuntimeError) as error:
            logger.debug("%s: %s", header.file, error)
            raise damaged_slice(path, header.file) from error


def damaged_slice(path: Path, file: Path) -> Exception:
    """Make the error that names the file that cannot be read."""
    return unreadable(
        path,
        f"slice '{file.name}' is damaged or cut short",
        "Export the series again.",
    )


# Helpers ------------------------------------------------------------------


def _check_size(path: Path, header: Header, dataset: "Dataset", present: int) -> None:
    """Compare declared with present bytes, before memory is asked for."""
    samples = whole_number(dataset, "SamplesPerPixel") or 1
    bits = whole_number(dataset, "BitsAllocated") or 8
    pixels = header.frame_count * header.rows * header.columns * samples
    needed = -(-pixels * bits // 8)
    packed = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    limit = max(PACKED_LIMIT, PACKED_RATIO * present) if packed else present
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric == "YBR_FULL_422" and not packed:
        needed = needed * 2 // 3
    frame = needed // header.frame_count
    if not packed and frame and present - needed >= frame:
        raise unreadable(
            path,
            f"'{header.file.name}' declares {header.frame_count} frames of {frame} "
            f"bytes, but has {present}: not all of its pixels would be read",
            "Export the series again.",
        )
    if needed > limit:
        raise unreadable(
            path,
            f"slice '{header.file.name}' is damaged or cut short: it declares "
            f"{needed} bytes of pixels, but has {present}",
            "Export the series again.",
        )


def _check_codec(path: Path, header: Header, dataset: "Dataset") -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in (*PLAIN, *PACKED):
        raise unreadable(
            path,
            f"the pixels of '{header.file.name}' are stored as {syntax.name}, which "
            "cannot be decoded",
            "Export the series without compression, or as JPEG 2000.",
        )


def _is_colour(dataset: "Dataset") -> bool:
    photometric = text(dataset, "PhotometricInterpretation")
    return (
        photometric == "PALETTE COLOR"
        or (whole_number(dataset, "SamplesPerPixel") or 1) > 1
    )


def _plain(dataset: "Dataset", index: int) -> NDArray:
    """Return a grey frame, bits beside the stored ones cleared."""
    from pydicom.pixels import pixel_array

    if whole_number(dataset, "BitsAllocated") == 1:
        return _bits(dataset, index)
    array = pixel_array(dataset, index=index, raw=True)
    stored = whole_number(dataset, "BitsStored")
    spare = 8 * array.dtype.itemsize - (stored or 0)
    if array.dtype.kind not in "iu" or not stored or spare <= 0:
        return array
    high = whole_number(dataset, "HighBit")
    drop = 0 if high is None else max(0, high + 1 - stored)
    # Up to the top, then down again: signs are kept, overlays fall out.
    return (array << max(0, spare - drop)) >> spare


def _bits(dataset: "Dataset", index: int) -> NDArray[np.uint8]:
    """Return a frame of single bits, which may begin within a byte."""
    rows, columns = (whole_number(dataset, name) or 0 for name in ("Rows", "Columns"))
    first = index * rows * columns
    stored = dataset.PixelData[first // 8 : -(-(first + rows * columns) // 8)]
    bits = np.unpackbits(np.frombuffer(stored, np.uint8), bitorder="little")
    return bits[first % 8 :][: rows * columns].reshape(rows, columns)


def _check_bits(dataset: "Dataset") -> None:
    """Refuse what no pixel can be, before GDCM asks for memory for it."""
    allocated, stored, high = (
        whole_number(dataset, name) or 0
        for name in ("BitsAllocated", "BitsStored", "HighBit")
    )
    if allocated not in (8, 16, 32) or not 0 <= high < allocated >= stored > 0:
        raise ValueError(f"{stored} of {allocated} bits, the highest of them {high}")
    if whole_number(dataset, "SamplesPerPixel") not in (1, 3):
        raise ValueError("neither one nor three samples per pixel")


def _packed_again(dataset: "Dataset", count: int) -> bytes:
    """Return packed frames in a sound envelope, each as large as the header says.

    GDCM trusts lengths of fragments and sizes in their streams, and asks for
    gigabytes where they are damaged.
    """
    from pydicom.encaps import encapsulate, generate_frames

    frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
    size = whole_number(dataset, "Rows"), whole_number(dataset, "Columns")
    for frame in frames:
        found = _stream_size(frame)
        if found not in (None, size):
            raise ValueError(f"a stream of {found} pixels for an image of {size}")
    if len(frames) != count or not all(frames):
        raise ValueError(f"{len(frames)} of {count} frames")
    return bytes(encapsulate(frames))


def _stream_size(stream: bytes) -> tuple[int, int] | None:
    """Return rows and columns by a JPEG, JPEG-LS or JPEG 2000 stream; None of RLE."""
    if stream.startswith(b"\xff\x4f\xff\x51"):
        x, y, x_start, y_start = struct.unpack_from(">4I", stream, 8)
        return y - y_start, x - x_start
    if not stream.startswith(b"\xff\xd8"):
        return None
    place = 2
    while place + 9 <= len(stream):
        mark, kind, length = struct.unpack_from(">BBH", stream, place)
        if mark != 0xFF:
            raise ValueError("no marker where one must be")
        is_frame = 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)
        if is_frame or kind == 0xF7:
            rows, columns = struct.unpack_from(">HH", stream, place + 5)
            return rows, columns
        # Fill bytes are a marker's first byte over again.
        place += 1 if kind == 0xFF else 2 + length
    raise ValueError("a stream without a size")


def _through_gdcm(dataset: "Dataset") -> NDArray:
    import SimpleITK as sitk
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    plain = Dataset()
    for keyword in KEPT:
        if keyword in dataset:
            plain[keyword] = dataset[keyword]
    frames = whole_number(dataset, "NumberOfFrames") or 1
    samples = whole_number(dataset, "SamplesPerPixel") or 1
    _check_bits(dataset)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        plain.PixelData = _packed_again(dataset, frames)
        plain["PixelData"].VR = "OB"
    plain.SOPClassUID = SECONDARY[samples, frames > 1]
    plain.SOPInstanceUID = plain.SeriesInstanceUID = generate_uid()
    plain.StudyInstanceUID = generate_uid()
    plain.Modality = "OT"
    plain.file_meta = dataset.file_meta
    plain.file_meta.MediaStorageSOPClassUID = plain.SOPClassUID
    plain.file_meta.MediaStorageSOPInstanceUID = plain.SOPInstanceUID
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with tempfile.TemporaryDirectory(prefix="qmedsam-") as folder, quiet_itk():
        file = Path(folder) / "frames.dcm"
        plain.save_as(file, enforce_file_format=True)
        reader.SetFileName(str(file))
        array = sitk.GetArrayFromImage(reader.Execute())
    if samples == 3 or text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        return array if array.ndim == 4 else array[np.newaxis]
    return array if array.ndim == 3 else array[np.newaxis]
