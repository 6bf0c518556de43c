"""The endless stream of training samples, addressed by position.

Sample `p` is a function of (data, settings, p), whichever process makes it. So
a run that is killed goes on where it stopped, and several processes together
see what one would see.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset, Sampler

from napari_qmedsam.datasets.dataset import DataSet
from napari_qmedsam.datasets.modality import LabelledSlice, ModalitySlices
from napari_qmedsam.datasets.sampling import epoch_order, samples_per_modality
from napari_qmedsam.errors import UnusableData
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.phantoms.fat import opposed_phase, streaked
from napari_qmedsam.phantoms.outlines import redrawn
from napari_qmedsam.phantoms.random_slices import PhantomKind
from napari_qmedsam.phantoms.shells import paint_shell
from napari_qmedsam.training.augmentation import augmented, flipped
from napari_qmedsam.training.samples import (
    MIN_AREA,
    EmbeddedSlice,
    Prompting,
    Sample,
    make_sample,
)
from napari_qmedsam.training.settings import CommonSettings

ATTEMPTS = 50
"""Slices of a modality that are tried before it is given up as empty."""

ORDER, CONTENT, POINTS = 0, 1, 2
"""Keys that part the generators of an epoch's order, its samples, and its points."""


@dataclass(frozen=True)
class Feed:
    """What a model takes in, and how much of it at a time.

    Parameters
    ----------
    config : ModelConfig
    batch : int
        Slices per step, those of all processes together.
    teacher : ModelConfig, optional
        Of a teacher that prepares slices in another way.
    """

    config: ModelConfig
    batch: int
    teacher: ModelConfig | None = None


class SampleStream(Dataset[Sample]):
    """Epochs of balanced samples, one after the other.

    Parameters
    ----------
    data : DataSet
    feed : Feed
    settings : CommonSettings
    first_epoch : int
        Number of the first epoch, so that stages see different ones.
    jitter_from : int
        Position from which boxes are jittered.
    pseudo_labelled : DataSet, optional
        What a share of the slices comes from instead, each of them as often
        (:mod:`~napari_qmedsam.training.pseudo_labels`).

    Raises
    ------
    UnusableData
        If a modality has too few slices, or an epoch not enough for a step.
    """

    def __init__(
        self,
        data: DataSet,
        feed: Feed,
        settings: CommonSettings,
        first_epoch: int = 0,
        jitter_from: int = 0,
        pseudo_labelled: DataSet | None = None,
    ) -> None:
        self.data, self.feed, self.settings = data, feed, settings
        self.pseudo_labelled = pseudo_labelled
        self.first_epoch, self.jitter_from = first_epoch, jitter_from
        self.samples = samples_per_modality(data, settings.strategy, settings.samples)
        self.steps_per_epoch = sum(self.samples) // feed.batch
        if self.steps_per_epoch == 0:
            raise UnusableData(
                f"An epoch of '{data.source}' has {sum(self.samples)} slices, but a "
                f"step takes {feed.batch}. Lower 'slices_per_step', or add data."
            )

    def __getitem__(self, position: int) -> Sample:
        """Make the sample at a position.

        Raises
        ------
        UnusableData
            If no slice of its modality has an object that is large enough.
        """
        epoch, index = divmod(position, self.steps_per_epoch * self.feed.batch)
        epoch += self.first_epoch
        settings = self.settings
        order = epoch_order(self.data.counts, self.samples, settings.seed, epoch)
        number, slice_index = (int(v) for v in order[index])
        modality = self.data.modalities[number]
        rng = np.random.default_rng((settings.seed, CONTENT, epoch, index))
        how = Prompting(
            settings.prompts,
            settings.boxes,
            settings.jitter if position >= self.jitter_from else 0,
            self._points(position // self.feed.batch),
        )
        pseudo_labelled = self._pseudo_labelled(rng)
        if pseudo_labelled is not None:
            modality = pseudo_labelled
            slice_index = int(rng.integers(len(modality)))
        for _ in range(ATTEMPTS):
            item = modality.read(slice_index)
            if pseudo_labelled is not None:
                item = augmented(item, rng)
            else:
                item = varied(item, self.data, modality.name, settings, rng)
            sample = make_sample(item, self.feed.config, how, rng, self.feed.teacher)
            if sample is not None:
                return sample
            slice_index = int(rng.integers(len(modality)))
        raise UnusableData(
            f"Of modality '{modality.name}' of '{self.data.source}', {ATTEMPTS} "
            f"slices have no object of {MIN_AREA} pixels in the model input. Check "
            "its labels, or leave it out."
        )

    def _pseudo_labelled(self, rng: np.random.Generator) -> ModalitySlices | None:
        """Return the modality of a pseudo-labelled slice, or None for another one."""
        data = self.pseudo_labelled
        if data is None or rng.random() >= self.settings.pseudo_labelled_share:
            return None
        shares = np.array(data.counts) / sum(data.counts)
        return data.modalities[rng.choice(len(shares), p=shares)]

    def _points(self, step: int) -> int:
        """Return how many points go with each box of a step."""
        if self.settings.points == 0:
            return 0
        rng = np.random.default_rng((self.settings.seed, POINTS, step))
        return int(rng.integers(1, 3)) if rng.random() < self.settings.points else 0


def varied(
    item: LabelledSlice,
    data: DataSet,
    modality: str,
    settings: CommonSettings,
    rng: np.random.Generator,
) -> LabelledSlice:
    """Flip a slice from a file, or paint on a phantom, at random.

    A slice with its embedding stays as it was embedded.
    """
    if isinstance(item, EmbeddedSlice):
        return item
    if data.is_phantom:  # these come flipped as it is
        return painted(item, modality, settings, rng)
    return flipped(item, rng) if settings.flips else item


def painted(
    item: LabelledSlice,
    modality: str,
    settings: CommonSettings,
    rng: np.random.Generator,
) -> LabelledSlice:
    """Paint what phantoms proper have little of, each on its share of the slices.

    A shell around one object; fat; outlines inside or outside of the edge.
    """

    def falls(share: float) -> bool:
        return share > 0 and rng.random() < share

    image, labels = item.image, item.labels
    if falls(settings.shells):
        image, labels = paint_shell(rng, image, labels)
    if falls(settings.fat):
        image = streaked(rng, image, labels)
    if modality != PhantomKind.CT.value and falls(settings.fat):
        image = opposed_phase(rng, image)
    if falls(settings.outlines):
        labels = redrawn(rng, labels)
    return LabelledSlice(image, labels)


class Positions(Sampler[int]):
    """Positions that one of several processes takes from a stream.

    A step takes `batch` positions in a row, and each process an equal part of
    them.

    Parameters
    ----------
    start, stop : int
        Steps done, and steps in all.
    batch : int
        Of all processes together.
    rank, processes : int
    """

    def __init__(
        self, start: int, stop: int, batch: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.steps, self.batch = range(start, stop), batch
        self.share = batch // processes
        self.offset = rank * self.share

    def __iter__(self) -> Iterator[int]:
        for step in self.steps:
            first = step * self.batch + self.offset
            yield from range(first, first + self.share)

    def __len__(self) -> int:
        return len(self.steps) * self.share
