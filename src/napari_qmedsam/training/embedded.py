"""Slices with their embeddings, so that a decoder can be trained on its own.

While the image encoder is frozen, a slice's embedding never changes. It is
computed once and kept in half precision in the folder of the run; a step then
costs its boxes alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.datasets.dataset import DataSet
from napari_qmedsam.datasets.modality import LabelledCase, LabelledSlice, ModalitySlices
from napari_qmedsam.datasets.sampling import samples_per_modality
from napari_qmedsam.disk import atomic_write
from napari_qmedsam.errors import InvalidSettings, UnusableData
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.training.samples import MIN_AREA, EmbeddedSlice
from napari_qmedsam.training.settings import CommonSettings
from napari_qmedsam.training.stream import varied

Encode = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From a model input (3, S, S) to its embedding (1, C, E, E)."""

ATTEMPTS = 50
"""Slices that are tried in place of one without an object to prompt."""

SLICES = 0xE3B
"""Key of the generators that choose and vary the slices."""


@dataclass(eq=False)
class EmbeddedSlices:
    """The embedded slices of one modality, a file each."""

    name: str
    folder: Path
    count: int

    def __len__(self) -> int:
        return self.count

    def path(self, index: int) -> Path:
        """Return the file of a slice."""
        return self.folder / f"{index:06d}.npz"

    def read(self, index: int) -> EmbeddedSlice:
        """Read a slice, its labels and its embedding."""
        with np.load(self.path(index), allow_pickle=False) as content:
            return EmbeddedSlice(
                content["image"], content["labels"], content["embedding"]
            )

    def cases(self, limit: int | None = None) -> Iterator[LabelledCase]:
        """Yield nothing: slices alone are kept."""
        return iter(())


def embed(
    data: DataSet,
    encode: Encode,
    config: ModelConfig,
    settings: CommonSettings,
    folder: Path,
    encoder_sha256: str,
    progress: Callable[[int, int], None] | None = None,
) -> DataSet:
    """Embed as many slices of each modality as an epoch has.

    What is there already is taken as it is, so a run that was stopped goes on.

    Parameters
    ----------
    data : DataSet
    encode : callable
    config : ModelConfig
        Of the model whose encoder it is.
    settings : CommonSettings
        Seed, samples, shells and flips.
    folder : Path
        Made if missing.
    encoder_sha256 : str
        Of the weights; embeddings of others are refused.
    progress : callable, optional
        Called with slices done and slices in all.

    Returns
    -------
    DataSet
        The same modalities, embedded.

    Raises
    ------
    InvalidSettings
        If the folder holds embeddings of another model.
    UnusableData
        If a modality has no slice with an object to prompt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_key(folder, encoder_sha256)
    counts = samples_per_modality(data, settings.strategy, settings.samples)
    kept: list[ModalitySlices] = []
    done, total = 0, sum(counts)
    for number, (modality, count) in enumerate(
        zip(data.modalities, counts, strict=True)
    ):
        slices = EmbeddedSlices(modality.name, folder / str(number), count)
        slices.folder.mkdir(exist_ok=True)
        for index in range(count):
            path = slices.path(index)
            if not path.exists():
                item = _drawn(data, number, index, settings)
                geometry = SliceGeometry.of(config, *item.labels.shape)
                embedding = encode(geometry.prepare(item.image))[0]
                with atomic_write(path) as part, part.open("wb") as file:
                    np.savez(
                        file,
                        image=item.image,
                        labels=item.labels,
                        embedding=embedding.astype(np.float16),
                    )
            done += 1
            if progress is not None:
                progress(done, total)
        kept.append(slices)
    return DataSet(data.source, tuple(kept))


def _check_key(folder: Path, key: str) -> None:
    """Refuse to mix embeddings of two encoders."""
    path = folder / "encoder.sha256"
    if path.exists():
        if path.read_text(encoding="ascii") != key:
            raise InvalidSettings(
                f"'{folder}' holds embeddings of another model. Choose another "
                "folder for the run, or delete them."
            )
        return
    with atomic_write(path) as part:
        part.write_text(key, encoding="ascii")


def _drawn(
    data: DataSet, number: int, index: int, settings: CommonSettings
) -> LabelledSlice:
    """Draw a slice of a modality with something to prompt."""
    modality = data.modalities[number]
    rng = np.random.default_rng((settings.seed, SLICES, number, index))
    for _ in range(ATTEMPTS):
        drawn = modality.read(int(rng.integers(len(modality))))
        item = varied(drawn, data, modality.name, settings, rng)
        if np.bincount(item.labels.ravel())[1:].max(initial=0) >= MIN_AREA:
            return item
    raise UnusableData(
        f"Of modality '{modality.name}' of '{data.source}', {ATTEMPTS} slices have no "
        f"object of {MIN_AREA} pixels. Check its labels, or leave it out."
    )
