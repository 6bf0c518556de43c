"""The slices of one modality, numbered from 0: of files, or drawn when asked for."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.datasets.files import LabelledFile
from napari_qmedsam.phantoms.random_slices import PhantomKind, random_slice
from napari_qmedsam.preprocessing import slice_image
from napari_qmedsam.volumes.labels import read_labels
from napari_qmedsam.volumes.npz import read_npz_case
from napari_qmedsam.volumes.reading import read_volume
from napari_qmedsam.volumes.volume import Modality, Volume

KEPT_CASES = 2
"""Decompressed volumes a process holds; the next slice is often of the same."""

PHANTOMS = 1_000_000
"""Slices of a phantom modality: more than any training run draws."""

HELD_OUT = 0x7E57
"""Key of the generators whose phantoms are never trained on."""


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """A volume with its reference labels.

    Parameters
    ----------
    name : str
    volume : Volume
    labels : ndarray, (Z, Y, X) unsigned
        0 is background.
    """

    name: str
    volume: Volume
    labels: NDArray[np.unsignedinteger]


@dataclass(frozen=True, eq=False)
class LabelledSlice:
    """A windowed slice and its labels.

    Parameters
    ----------
    image : ndarray, (Y, X) or (Y, X, 3) uint8
    labels : ndarray, (Y, X) unsigned
        Every value but 0 is one object.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.unsignedinteger]


class ModalitySlices(Protocol):
    """Labelled slices of one modality, addressed by number."""

    name: str

    def __len__(self) -> int:
        """Return how many slices there are."""
        ...

    def read(self, index: int) -> LabelledSlice:
        """Return slice `index`, or one of the same file that has labels."""
        ...

    def cases(self, limit: int | None = None) -> Iterator[LabelledCase]:
        """Return whole cases, the first `limit` of them."""
        ...


class FileSlices:
    """Slices of labelled files, opened when a slice of theirs is asked for.

    Slice `i` is found by binary search over the cumulative slice counts
    (QMedSAM, section 2.1), so nothing is unpacked on disk. The last volumes
    stay in memory; copies in other processes start without them.

    Parameters
    ----------
    name : str
        The modality.
    files : sequence of LabelledFile
    """

    def __init__(self, name: str, files: Sequence[LabelledFile]) -> None:
        self.name, self.files = name, tuple(files)
        self._ends = list(accumulate(file.shape[0] for file in files))
        self._recent: OrderedDict[int, _OpenCase] = OrderedDict()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_recent": OrderedDict()}

    def locate(self, index: int) -> tuple[int, int]:
        """Return the number of the file, and of the slice in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} slices, not {index + 1}.")
        file = bisect_right(self._ends, index)
        return file, index - (self._ends[file - 1] if file else 0)

    def read(self, index: int) -> LabelledSlice:
        """Return slice `index`; if it has no labels, the nearest that has.

        Ties go to the lower slice. Where a whole file has no labels, the slice
        comes as it is.
        """
        file, slice_index = self.locate(index)
        return self._open(file).nearest_labelled(slice_index)

    def cases(self, limit: int | None = None) -> Iterator[LabelledCase]:
        """Read the files one by one."""
        for file in self.files[:limit]:
            yield read_case(file)

    def _open(self, file: int) -> "_OpenCase":
        case = self._recent.pop(file, None)
        if case is None:
            case = _OpenCase(read_case(self.files[file]))
        self._recent[file] = case
        while len(self._recent) > KEPT_CASES:
            self._recent.popitem(last=False)
        return case


class _OpenCase:
    """A case with its window, and the slices of it that have labels."""

    def __init__(self, case: LabelledCase) -> None:
        self.case = case
        self.window = case.volume.default_window()
        self.labelled = np.flatnonzero(case.labels.any(axis=(1, 2)))

    def nearest_labelled(self, slice_index: int) -> LabelledSlice:
        if self.labelled.size:
            nearest = np.abs(self.labelled - slice_index).argmin()
            slice_index = int(self.labelled[nearest])
        image = slice_image(self.case.volume.array, slice_index, self.window)
        return LabelledSlice(image, self.case.labels[slice_index])


class PhantomSlices:
    """Phantoms of one kind; slice `i` is a function of (seed, kind, i).

    Parameters
    ----------
    kind : PhantomKind or None
        None: the mixture of all.
    seed : int
    size : int
        Side of a slice in pixels.
    held_out : bool
        Draw from generators that no training seed reaches.
    """

    def __init__(
        self,
        kind: PhantomKind | None,
        seed: int,
        size: int = 256,
        held_out: bool = False,
    ) -> None:
        self.name = "Mixture" if kind is None else kind.value
        self.kind, self.seed, self.size, self.held_out = kind, seed, size, held_out

    def __len__(self) -> int:
        return PHANTOMS

    def read(self, index: int) -> LabelledSlice:
        """Draw slice `index`; it has at least one object."""
        number = 0 if self.kind is None else 1 + list(PhantomKind).index(self.kind)
        key = (HELD_OUT,) * self.held_out + (number, index)
        sequence = np.random.SeedSequence(self.seed, spawn_key=key)
        drawn = random_slice(np.random.default_rng(sequence), self.size, self.kind)
        return LabelledSlice(drawn.image, drawn.labels)

    def cases(self, limit: int | None = None) -> Iterator[LabelledCase]:
        """Draw slices as volumes of one slice of 1 mm pixels."""
        modality = Modality.MR if self.kind is PhantomKind.MR else Modality.OTHER
        for index in range(len(self) if limit is None else min(limit, len(self))):
            drawn = self.read(index)
            volume = Volume(drawn.image[np.newaxis], modality=modality)
            yield LabelledCase(f"{self.name} {index}", volume, drawn.labels[np.newaxis])


def read_case(file: LabelledFile) -> LabelledCase:
    """Read image and labels of a file.

    Raises
    ------
    UnreadableVolume, GridMismatch
        As the readers.
    """
    if file.image == file.labels:
        case = read_npz_case(file.image)
        assert case.labels is not None  # the index lists files with labels only
        return LabelledCase(file.image.name, case.volume, case.labels.array)
    volume = read_volume(file.image, modality=file.reader_modality)
    return LabelledCase(
        file.image.name, volume, read_labels(file.labels, like=volume).array
    )
