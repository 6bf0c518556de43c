"""NRRD files, attached and detached."""

from pathlib import Path

from napari_qmedsam.volumes.formats import WHOLE, Format, Selection
from napari_qmedsam.volumes.itk import itk_shape, read_itk, write_itk
from napari_qmedsam.volumes.volume import Volume

IMAGE_IO = "NrrdImageIO"
"""ITK's reader; naming it keeps ITK from trying all the others."""


def read_nrrd(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read an NRRD or NHDR file.

    Raises
    ------
    UnreadableVolume
        If the file is damaged, its grid is no grid, or the frame is not in it.
    """
    return read_itk(path, IMAGE_IO, "nrrd", selection)


NRRD = Format(
    name="nrrd",
    title="NRRD",
    suffixes=(".nrrd", ".nhdr"),
    recognises=lambda head: head.startswith(b"NRRD"),
    read=read_nrrd,
    shape=lambda path: itk_shape(path, IMAGE_IO),
    written=(".nrrd", ".nhdr"),
    write_labels=write_itk,
    write_image=write_itk,
)
