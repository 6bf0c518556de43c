"""What a file holds that is not what its name says, told by its first bytes."""

from dataclasses import dataclass

ZIP = "a zip archive"
XML = "an XML document"

POINTERS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer and not the file itself",
        "Fetch the file with git lfs pull.",
    ),
    (
        b"/annex/objects/",
        "a git-annex pointer and not the file itself",
        "Fetch the file with git annex get.",
    ),
)
"""Texts that stand where a file is not, as in `MARKS`."""

MARKS: tuple[tuple[bytes, str, str], ...] = (
    *POINTERS,
    (b"\0\x05\x16\x07", "a macOS ._ file of attributes", "Choose the file beside it."),
    (b"%PDF-", "a PDF document", ""),
    (b"GIF8", "a GIF picture", "Save it as PNG or TIFF."),
    (b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 picture", "Save it as PNG or TIFF."),
    (b"BZh", "packed with bzip2", "Unpack it first."),
    (b"\xfd7zXZ\0", "packed with xz", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "Unpack it first."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it first."),
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it first."),
    (b"PK\x03\x04", ZIP, "Unpack it first."),
    (b"\x1f\x8b", "packed with gzip", "Unpack it first."),
    (b"\x89HDF\r\n", "an HDF5 file", "Export it in a format that is read."),
    (b"\x93NUMPY", "a single NumPy array", "Export it in a format that is read."),
)
"""First bytes, what a file is that has them, and what to do."""


@dataclass(frozen=True)
class Contents:
    """What a file turned out to be.

    Parameters
    ----------
    what : str
        Goes after "it is".
    advice : str
        A sentence; empty if there is nothing to say.
    """

    what: str
    advice: str


def is_placeholder(head: bytes) -> bool:
    """Tell nothing, zeros, or a pointer: what is left of a file that is not there."""
    return not head.strip(b"\0") or head.startswith(tuple(m for m, _, _ in POINTERS))


def foreign_contents(head: bytes) -> Contents | None:
    """Tell well-known contents by a file's first bytes; None if it is none of them.

    Parameters
    ----------
    head : bytes
        A few hundred will do.
    """
    for mark, what, advice in MARKS:
        if head.startswith(mark):
            return Contents(what, advice)
    if head.startswith((b"../", b".git/")) and b"annex/objects/" in head[:300]:
        return foreign_contents(b"/annex/objects/")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return Contents(
            "an HTML page, such as a web server sends in place of a file",
            "Download the file again, signed in if need be.",
        )
    # Two letters alone would be the length of many a safetensors header too.
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return Contents("a BMP picture", "Save it as PNG or TIFF.")
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Contents("a WebP picture", "Save it as PNG or TIFF.")
    if start.startswith(b"<?xml"):
        return Contents(XML, "Export it in a format that is read.")
    if start.startswith((b"{", b"[")) and head.isascii():
        return Contents("a JSON text", "Check that it is the right file.")
    return None
