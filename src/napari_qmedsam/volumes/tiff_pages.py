"""The pages of a TIFF, and what OpenCV says nothing about.

OpenCV decodes them, as it knows every usual compression. It leaves pages out where
a file is cut short or has one directory for many of them, and knows no tiles smaller
than its own; then tifffile takes its place.
"""

import logging
import math
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes.files import COPY_AGAIN, unreadable
from napari_qmedsam.volumes.inflating import DEFLATE_LIMIT
from napari_qmedsam.volumes.tiff_size import quiet_tifffile

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

logger = logging.getLogger(__name__)

WHITE_IS_LOW = 0
"""TIFF's number for greys that are stored inverted; OpenCV turns them round."""

NO_COMPRESSION = 1


def complete_pages(
    path: Path, decoded: list[NDArray]
) -> tuple[list[NDArray], tuple[str, ...]]:
    """Return all pages of a TIFF, and notices.

    Parameters
    ----------
    path : Path
    decoded : list of ndarray
        What OpenCV gave: grey (Y, X), or BGR and BGRA (Y, X, 3 or 4).

    Raises
    ------
    UnreadableVolume
        If a page is cut short, or cannot be decoded.
    """
    import tifffile

    if not _chain_ends(path):
        raise unreadable(path, "not all of its pages are there", COPY_AGAIN)
    try:
        with quiet_tifffile(), tifffile.TiffFile(path) as file:
            pages = [file.pages[i].aspage() for i in range(len(file.pages))]
            _check_present(path, pages)
            stored = file.imagej_metadata or {}
            count = max(len(pages), int(stored.get("images", 1)))
            notices = _notices(pages)
            if len(decoded) == count:
                return decoded, notices
            found = _by_tifffile(path, file, pages, count)
    except UnreadableVolume:
        raise
    except Exception as error:
        # tifffile raises what it meets in damaged files.
        logger.debug("%s: %s", path, error)
        if decoded:
            return decoded, ()
        raise unreadable(
            path,
            f"the picture is damaged, or of an unknown kind{_why(error)}",
            COPY_AGAIN,
        ) from error
    if any(page.ndim not in (2, 3) or page.size == 0 for page in found):
        raise unreadable(path, "its pages hold no pixels", COPY_AGAIN)
    return found, notices


def _chain_ends(path: Path) -> bool:
    """Tell whether every page names one that is there, up to the last.

    Decoders stop without a word where the chain is broken.
    """
    data = path.read_bytes()
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    number, place, entries = ("Q", 8, 20) if is_big else ("I", 4, 12)
    count = "Q" if is_big else "H"
    seen = set()
    while True:
        try:
            (place,) = struct.unpack_from(order + number, data, place)
            if place == 0 or place in seen:
                return place == 0
            seen.add(place)
            (length,) = struct.unpack_from(order + count, data, place)
        except (struct.error, OverflowError):
            return False
        place += struct.calcsize(order + count) + length * entries


def _why(error: BaseException) -> str:
    # tifffile: "<COMPRESSION.JBIG_BW: 9> not supported".
    found = re.search(r"COMPRESSION\.(\w+)", str(error))
    return f", with the compression {found[1]}" if found else ""


def _check_present(path: Path, pages: "list[TiffPage]") -> None:
    """See that what the pages declare can be in the file, before memory."""
    size = path.stat().st_size
    for number, page in enumerate(pages):
        ends = [
            sum(ends)
            for ends in zip(page.dataoffsets, page.databytecounts, strict=False)
        ]
        limit = size if page.compression == NO_COMPRESSION else size * DEFLATE_LIMIT
        if max(ends, default=0) > size or page.nbytes > limit:
            raise unreadable(path, f"its page {number} is cut short", COPY_AGAIN)


def _by_tifffile(
    path: Path, file: "TiffFile", pages: "list[TiffPage]", count: int
) -> list[NDArray]:
    samples = pages[0].samplesperpixel
    if samples not in (1, 3, 4):
        raise unreadable(
            path, f"each of its pixels holds {samples} values", "Save grey or colour."
        )
    if count > len(pages):
        # One directory for a stack that follows it, as ImageJ writes large ones.
        size = math.prod(pages[0].shape)
        if pages[0].nbytes * count > path.stat().st_size or (
            file.series[0].size != count * size
        ):
            reason = f"not all of its {count} pages are there"
            raise unreadable(path, reason, COPY_AGAIN)
        found = list(file.series[0].asarray().reshape(count, *pages[0].shape))
    else:
        found = [page.asarray() for page in pages]
    return [
        _as_opencv(array, page)
        for array, page in zip(found, _each(pages, count), strict=True)
    ]


def _each(pages: "list[TiffPage]", count: int) -> "list[TiffPage]":
    return pages if len(pages) == count else [pages[0]] * count


def _as_opencv(array: NDArray, page: "TiffPage") -> NDArray:
    """Return a page in native order, colour as BGR, low values black."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.ndim == 3 and page.planarconfig == 2:
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        order = [2, 1, 0, 3][: array.shape[-1]]
        return np.ascontiguousarray(array[..., order])
    if page.photometric == WHITE_IS_LOW and array.dtype.kind == "u":
        return np.iinfo(array.dtype).max - array
    return array


def _notices(pages: "list[TiffPage]") -> tuple[str, ...]:
    notices: tuple[str, ...] = ()
    if pages[0].photometric == WHITE_IS_LOW:
        notices += (
            "Its greys are stored inverted (MinIsWhite) and were turned round.",
        )
    if pages[0].samplesperpixel == 2:
        notices += ("Each pixel holds 2 values; the first was read.",)
    return notices
