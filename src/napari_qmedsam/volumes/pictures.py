"""PNG, JPEG and TIFF pictures, through OpenCV."""

import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.files import COPY_AGAIN, suffix_of, unreadable
from napari_qmedsam.volumes.formats import WHOLE, Format, Selection
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.tiff_pages import complete_pages
from napari_qmedsam.volumes.tiff_size import tiff_size
from napari_qmedsam.volumes.volume import Modality, Source, Volume

logger = logging.getLogger(__name__)

DEFLATE = 8
"""TIFF's number for zlib compression; not every reader knows OpenCV's LZW."""

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
"""How these begin."""

STUFFED = (b"\0", *(bytes((0xD0 + i,)) for i in range(8)))
"""What may follow 255 within the pixels of a JPEG."""

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF begins, in either byte order, small and big."""


def read_picture(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read a picture as a volume of one slice, or a TIFF with pages as a stack.

    Grey keeps its depth (16 bits stay 16 bits). Colour becomes RGB with 8
    bits; transparency is dropped with a notice. TIFF files of ImageJ and OME
    carry a voxel size; all other pictures get 1 mm, and `has_spacing` False.

    Parameters
    ----------
    path : Path
    selection : Selection
        `frame` is one page of a TIFF; default all pages, as slices.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, or its pages differ in size.
    """
    pages, notices = _decode(path)
    if selection.frame is not None:
        index, _ = choose_frame(path, selection.frame, len(pages))
        pages = [pages[index]]
    if any(p.shape != pages[0].shape or p.dtype != pages[0].dtype for p in pages):
        raise unreadable(
            path,
            "its pages differ in size or depth",
            "Choose one page with frame=, or save them one by one.",
        )
    size: tuple[float, float, float] | None = None
    with path.open("rb") as stream:
        is_tiff = stream.read(4) in TIFF
    if is_tiff:
        size, more = tiff_size(path)
        notices += more
    if size is None:
        notices += ("The picture carries no voxel size; 1 mm is assumed.",)
    array = np.stack(pages)
    if array.ndim == 4:
        array, more = _to_rgb(array)
        notices += more
    return Volume(
        array=array,
        spacing_mm=size or (1.0, 1.0, 1.0),
        modality=Modality.COLOUR if array.ndim == 4 else Modality.OTHER,
        source=Source(str(path), "picture", dimensions=2 if len(pages) == 1 else 3),
        notices=notices,
        has_spacing=size is not None,
    )


def write_picture(array: NDArray, like: Volume, path: Path) -> None:
    """Write slices as a picture; more than one slice needs TIFF.

    Parameters
    ----------
    array : ndarray, (Z, Y, X) or (Z, Y, X, 3)
        uint8 or uint16; TIFF takes float32 as well.
    like : Volume
        Its place is not kept: pictures hold none.
    path : Path

    Raises
    ------
    OSError
        If the format cannot hold the array.
    """
    import cv2

    suffix = suffix_of(path)
    kinds: tuple[type, ...] = (np.uint8, np.uint16)
    is_tiff = suffix in (".tif", ".tiff")
    if is_tiff:
        kinds += (np.float32,)
    elif array.shape[0] > 1:
        raise OSError(f"{suffix} holds one slice, but there are {array.shape[0]}")
    if array.dtype not in kinds:
        raise OSError(f"{suffix} cannot hold {array.dtype}")
    pages = [
        cv2.cvtColor(page, cv2.COLOR_RGB2BGR) if page.ndim == 3 else page
        for page in np.ascontiguousarray(array)
    ]
    options = [cv2.IMWRITE_TIFF_COMPRESSION, DEFLATE] if is_tiff else []
    with _quiet_opencv():
        try:
            if len(pages) == 1:
                done, data = cv2.imencode(suffix, pages[0], options)
            else:
                done, data = cv2.imencodemulti(suffix, pages, options)
        except cv2.error as error:
            raise OSError(str(error).strip()) from error
    if not done:
        raise OSError(f"OpenCV could not encode {suffix}")
    path.write_bytes(data.tobytes())


# Helpers ------------------------------------------------------------------


def _decode(path: Path) -> tuple[list[NDArray], tuple[str, ...]]:
    """Return the pages as OpenCV gives them: grey, BGR or BGRA; and notices."""
    import cv2

    # Not imread: on Windows it cannot open names outside the code page.
    data = path.read_bytes()
    is_tiff = data.startswith(TIFF)
    # Decoders fill what is missing with grey.
    if data.startswith(PNG) and not _png_is_whole(data):
        raise unreadable(path, "the picture is damaged or cut short", COPY_AGAIN)
    if data.startswith(JPEG) and not _jpeg_is_whole(data):
        raise unreadable(path, "the picture is damaged or cut short", COPY_AGAIN)
    block = np.frombuffer(data, dtype=np.uint8)
    pages: list[NDArray] = []
    with _quiet_opencv():
        try:
            if is_tiff:
                pages = list(cv2.imdecodemulti(block, cv2.IMREAD_UNCHANGED)[1])
            else:
                page = cv2.imdecode(block, cv2.IMREAD_UNCHANGED)
                pages = [] if page is None else [page]
        except cv2.error as error:
            logger.debug("%s: %s", path, error)
    if is_tiff:
        return complete_pages(path, pages)
    if not pages:
        raise unreadable(
            path, "the picture is damaged, or of an unknown kind", COPY_AGAIN
        )
    return pages, ()


def _jpeg_is_whole(data: bytes) -> bool:
    """Tell whether a JPEG goes on to its end mark, whatever follows that.

    A picture within it, as cameras keep one, has an end mark of its own.
    """
    place = 2
    while data[place : place + 1] == b"\xff":
        kind = data[place + 1 : place + 2]
        if kind == b"\xd9":
            return True
        if kind == b"\xff":
            place += 1
            continue
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
        if kind != b"\xda":
            continue
        # The pixels: up to a mark that is neither a stuffed byte nor a restart.
        place = data.find(b"\xff", place)
        while place >= 0 and data[place + 1 : place + 2] in STUFFED:
            place = data.find(b"\xff", place + 2)
        if place < 0:
            return False
    return False


def _png_is_whole(data: bytes) -> bool:
    """Check the checksum of every PNG chunk.

    The decoder skips the check for pixels, so damage would look like image.
    """
    start = 8
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        end = start + 8 + length
        if end + 4 > len(data):
            return False
        (stored,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(data[start + 4 : end]) != stored:
            return False
        if data[start + 4 : start + 8] == b"IEND":
            return True
        start = end + 4
    return False


def _to_rgb(array: NDArray) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return BGR or BGRA pages as RGB uint8."""
    notices: tuple[str, ...] = ()
    if array.shape[-1] == 4:
        notices += ("Transparency was dropped.",)
    array = array[..., 2::-1]
    if array.dtype == np.uint16:
        array = array >> 8
        notices += ("Colour of 16 bits was reduced to 8.",)
    elif array.dtype.kind == "f":
        array = np.clip(array, 0.0, 1.0) * 255.0 + 0.5
        notices += ("Colour was mapped from 0..1 to 0..255.",)
    return np.ascontiguousarray(array, dtype=np.uint8), notices


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from writing to stderr what our error says."""
    import cv2

    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


PICTURE = Format(
    name="picture",
    title="Picture",
    suffixes=(".png", ".jpg", ".jpeg", ".tif", ".tiff"),
    recognises=lambda head: head.startswith((PNG, JPEG, *TIFF)),
    read=read_picture,
    shape=lambda path: read_picture(path).shape,
    # JPEG would blur labels.
    written=(".png", ".tif", ".tiff"),
    write_labels=write_picture,
    write_image=write_picture,
    keeps_place=False,
)
