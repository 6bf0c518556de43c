"""Bytes out of gzip and zlib streams, counted and with their checksums looked at."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

GZIP_MARK = b"\x1f\x8b"
"""How gzip files begin."""

CHUNK = 1 << 20
"""Bytes read at a time, so that unpacking needs no second copy."""

PIECE = 16
"""Bytes of a head that are unpacked at a time."""

DEFLATE_LIMIT = 1032
"""Deflate packs no more tightly than about this."""

SLACK = 1 << 24
"""Bytes that may follow the declared ones before a stream counts as a bomb."""


class Damaged(Exception):
    """A stream is damaged, cut short or too long; the text says which."""


def inflate_into(stream: BinaryIO, start: int, view: memoryview, declared: int) -> int:
    """Fill `view` with the unpacked bytes from `start` on, and check the rest.

    The stream is read to its end, since only there a checksum is compared.

    Parameters
    ----------
    stream : binary file
        At the first byte of a gzip or zlib stream.
    start : int
        Unpacked bytes to leave out.
    view : memoryview
    declared : int
        Unpacked bytes that should be there at least.

    Returns
    -------
    int
        Bytes that follow the declared ones.

    Raises
    ------
    Damaged
    """
    end, done = start + len(view), 0
    declared = max(declared, end)
    for block in inflate(stream):
        low, high = max(start, done), min(end, done + len(block))
        if low < high:
            view[low - start : high - start] = block[low - done : high - done]
        done += len(block)
        if done > declared + SLACK:
            raise Damaged(f"it unpacks to more than the {declared} bytes declared")
    if done < declared:
        raise Damaged(f"{declared - done} of {declared} bytes are missing")
    return done - declared


def left_over(extra: int) -> tuple[str, ...]:
    """Return a notice of bytes that nothing declares; none where there are none."""
    if extra <= 0:
        return ()
    return (f"{extra} bytes after the voxels that its header declares were left out.",)


def inflate(stream: BinaryIO) -> Iterator[bytes]:
    """Unpack a gzip or zlib stream; what follows its end is left alone.

    Raises
    ------
    Damaged
    """
    rest = stream.read(CHUNK)
    while True:
        # 32: gzip or zlib, whichever it is.
        worker = zlib.decompressobj(32 + zlib.MAX_WBITS)
        while not worker.eof:
            if not rest:
                rest = stream.read(CHUNK)
            if not rest:
                raise Damaged("its packed data are cut short")
            try:
                block = worker.decompress(rest, CHUNK)
            except zlib.error as error:
                # zlib: "Error -3 while decompressing data: incorrect data check".
                cause = str(error).rpartition(": ")[2]
                raise Damaged(f"its packed data are damaged ({cause})") from error
            rest = worker.unconsumed_tail
            if block:
                yield block
        rest = worker.unused_data or stream.read(CHUNK)
        if len(rest) < len(GZIP_MARK):
            rest += stream.read(CHUNK)
        # gzip files may be strung together, as bgzip writes them.
        if not rest.startswith(GZIP_MARK):
            return


def inflated_head(head: bytes, size: int) -> bytes:
    """Return the first unpacked bytes of a gzip file's head; the head if it is none."""
    if not head.startswith(GZIP_MARK):
        return head
    found, worker = b"", zlib.decompressobj(32 + zlib.MAX_WBITS)
    try:
        # Piece by piece: what comes before damage is known all the same.
        for start in range(0, len(head), PIECE):
            rest = head[start : start + PIECE]
            while rest and len(found) < size:
                found += worker.decompress(rest, size - len(found))
                rest = worker.unconsumed_tail
                if worker.eof and worker.unused_data:
                    rest = worker.unused_data
                    worker = zlib.decompressobj(32 + zlib.MAX_WBITS)
    except zlib.error:
        pass
    return found
