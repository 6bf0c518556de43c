"""One record for each kind of file: how it is told, read and written.

A new kind is a module with its record and a line in :mod:`registry`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import NDArray

from napari_qmedsam.volumes.volume import Volume

Shape = tuple[int, int, int]
"""(Z, Y, X), as `Volume.shape` has it."""


@dataclass(frozen=True)
class Selection:
    """Which part of a file is meant.

    Parameters
    ----------
    frame : int or None
        Of a file with several frames, from 0.
    series : str or None
        Of a DICOM folder: UID or exact description.
    like : Volume or None
        The image that labels belong to, where that is known.
    """

    frame: int | None = None
    series: str | None = None
    like: Volume | None = None


WHOLE = Selection()
"""The usual part: frame 0, and the only series."""

Reader = Callable[[Path, Selection], Volume]
"""Reads voxels as they are stored; `reading` and `labels` clean them."""

Writer = Callable[[NDArray, Volume, Path], None]
"""Writes an array on the grid of a volume; OSError says why it cannot."""


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Parameters
    ----------
    name : str
        `Source.format` of what is read from it.
    title : str
        As messages and dialogs call it.
    suffixes : tuple of str
        Of files that are read, in lower case.
    recognises : callable
        Tells it by the first `HEAD_BYTES` of a file.
    read : Reader
    shape : callable
        Returns the shape of an image or label file, from its header where it
        has one.
    holds_volume : callable
        Tells a file of this kind that is a volume from others, which are left
        to other programs.
    holds_labels : callable
        Tells a file that can only be labels.
    read_labels : Reader or None
        Where labels are stored in another way than images.
    written : tuple of str
        Suffixes that are written; the first is the usual one.
    write_labels, write_image : Writer or None
        None where the format is not written, or holds only the other.
    why_not : callable
        Returns why labels of a volume cannot be written, None if they can.
    keeps_place : bool
        Whether the file says where in the patient its voxels lie.
    names_modality : bool
        Whether the file says what made the image; elsewhere it is guessed.
    has_series : bool
        Whether `Selection.series` means something.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    recognises: Callable[[bytes], bool]
    read: Reader
    shape: Callable[[Path], Shape]
    holds_volume: Callable[[Path], bool] = lambda path: True
    holds_labels: Callable[[Path], bool] = lambda path: False
    read_labels: Reader | None = None
    written: tuple[str, ...] = ()
    write_labels: Writer | None = None
    write_image: Writer | None = None
    why_not: Callable[[Volume], str | None] = lambda like: None
    keeps_place: bool = True
    names_modality: bool = False
    has_series: bool = False


HEAD_BYTES = 4096
"""Bytes at the start of a file by which formats are told."""
