"""A data set: the slices of several modalities, from a folder or from phantoms."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_qmedsam.datasets.files import LabelledFile, find_labelled
from napari_qmedsam.datasets.modality import FileSlices, ModalitySlices, PhantomSlices
from napari_qmedsam.errors import UnusableData
from napari_qmedsam.phantoms.random_slices import PhantomKind

PHANTOM_SOURCE = "phantoms"
"""In place of a folder: generated slices, CT-like, MR-like and mosaics."""

MIXTURE_SOURCE = "mixture"
"""In place of a folder: the phantoms as one modality, in the shares that the
demo model is trained with."""

PHANTOM_SAMPLES = 200
"""Slices per phantom modality and epoch unless asked otherwise."""


@dataclass(frozen=True)
class DataSet:
    """Modalities in a fixed order.

    Parameters
    ----------
    source : str
        Folder, ``phantoms`` or ``mixture``.
    modalities : tuple of ModalitySlices
    """

    source: str
    modalities: tuple[ModalitySlices, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Slices of each modality: N_m of QMedSAM, section 4.4."""
        return tuple(len(modality) for modality in self.modalities)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(modality.name for modality in self.modalities)

    @property
    def is_phantom(self) -> bool:
        """True if slices are drawn, not read."""
        return self.source in (PHANTOM_SOURCE, MIXTURE_SOURCE)


def open_data(
    source: str, seed: int = 0, size: int = 256, held_out: bool = False
) -> DataSet:
    """Open a data folder, or phantoms.

    Parameters
    ----------
    source : str
        A folder in one of the layouts of `files`, ``phantoms``, or ``mixture``.
    seed, size, held_out
        For phantoms: see :class:`PhantomSlices`.

    Raises
    ------
    UnusableData, GridMismatch, UnreadableVolume
        As :func:`find_labelled`.
    """
    kinds: list[PhantomKind | None] = []
    if source == PHANTOM_SOURCE:
        kinds = list(PhantomKind)
    elif source == MIXTURE_SOURCE:
        kinds = [None]
    if kinds:
        slices = tuple(PhantomSlices(kind, seed, size, held_out) for kind in kinds)
        return DataSet(source, slices)
    return _of_files(source, find_labelled(Path(source)))


def split_tenth(data: DataSet, seed: int = 0) -> tuple[DataSet, DataSet]:
    """Part the files of each modality: nine tenths to train on, one to score.

    At least one file of each modality is scored. Whole files go to one side,
    so no slice has its neighbours on the other. Of phantoms, the second part
    is drawn from generators of their own.

    Raises
    ------
    UnusableData
        If a modality has a single file.
    """
    if data.is_phantom:
        first = data.modalities[0]
        assert isinstance(first, PhantomSlices)
        return data, open_data(data.source, first.seed, first.size, held_out=True)
    kept: list[LabelledFile] = []
    scored: list[LabelledFile] = []
    for modality in data.modalities:
        assert isinstance(modality, FileSlices)
        count = len(modality.files)
        if count < 2:
            raise UnusableData(
                f"Modality '{modality.name}' of '{data.source}' has one file, so none "
                "can be set aside to choose the best epoch by. Add files, or give "
                "data to validate on."
            )
        key = zlib.crc32(modality.name.encode())
        order = np.random.default_rng((seed, key)).permutation(count)
        aside = set(order[: max(1, count // 10)].tolist())
        for number, file in enumerate(modality.files):
            (scored if number in aside else kept).append(file)
    return _of_files(data.source, kept), _of_files(data.source, scored)


def _of_files(source: str, files: list[LabelledFile]) -> DataSet:
    names = sorted({file.modality for file in files})
    return DataSet(
        source,
        tuple(
            FileSlices(name, [file for file in files if file.modality == name])
            for name in names
        ),
    )
