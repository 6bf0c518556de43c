"""The score of a model after an epoch: mean DSC per modality, then their mean."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from napari_qmedsam.datasets.dataset import DataSet, split_tenth
from napari_qmedsam.errors import UnusableData
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.training.processes import Processes
from napari_qmedsam.training.samples import (
    MIN_AREA,
    Prompting,
    Sample,
    collate,
    make_sample,
)
from napari_qmedsam.training.settings import CommonSettings


def set_aside(
    data: DataSet, validation: DataSet | None, settings: CommonSettings
) -> tuple[DataSet, DataSet | None]:
    """Return what is trained on and what is scored, a tenth unless that is given."""
    if validation is None and settings.validation_slices:
        return split_tenth(data, settings.seed)
    return data, validation


@dataclass(frozen=True)
class Validation:
    """The same few slices of each modality every time, boxes without jitter.

    Masks are compared at the resolution of the low-res logits. That ranks
    epochs; figures to publish come from ``qmedsam evaluate-modalities``.
    """

    data: DataSet
    settings: CommonSettings

    @classmethod
    def of(cls, data: DataSet | None, settings: CommonSettings) -> "Validation | None":
        """Return it as the settings want it; None where nothing is scored."""
        if data is None or not settings.validation_slices:
            return None
        return cls(data, settings)

    def score(self, model: MedSAM, processes: Processes) -> dict[str, float]:
        """Return the mean DSC in percent of each modality, by its name.

        Several processes share the slices.

        Raises
        ------
        UnusableData
            If a modality has no object to score.
        """
        sums = torch.zeros(len(self.data.modalities), 2, dtype=torch.float64)
        was_training = model.training
        model.eval()
        for number in range(len(sums)):
            for sample in self._samples(number, model, processes):
                scores = _score_sample(model, sample, processes.device)
                sums[number, 0] += scores.nansum().item()
                sums[number, 1] += scores.isfinite().sum().item()
        model.train(was_training)
        sums = processes.sum(sums)
        for name, (_, count) in zip(self.data.names, sums.tolist(), strict=True):
            if count == 0:
                raise UnusableData(
                    f"None of the validation slices of modality '{name}' of "
                    f"'{self.data.source}' has an object of {MIN_AREA} pixels in the "
                    "model input. Check its labels, or raise 'validation_slices'."
                )
        means = (100 * sums[:, 0] / sums[:, 1]).tolist()
        return dict(zip(self.data.names, means, strict=True))

    def _samples(
        self, number: int, model: MedSAM, processes: Processes
    ) -> Iterator[Sample]:
        modality, settings = self.data.modalities[number], self.settings
        wanted = min(settings.validation_slices, len(modality))
        # Spread over the files, but not over a million phantoms.
        last = wanted if self.data.is_phantom else len(modality)
        chosen = np.linspace(0, last, wanted, endpoint=False).astype(int)
        for index in chosen[processes.rank :: processes.count].tolist():
            rng = np.random.default_rng((settings.seed, number, index))
            item = modality.read(index)
            sample = make_sample(item, model.config, Prompting(settings.prompts), rng)
            if sample is not None:
                yield sample


def overall(scores: dict[str, float]) -> float:
    """Return the mean over modalities, each counting the same."""
    return fmean(scores.values())


def _score_sample(model: MedSAM, sample: Sample, device: torch.device) -> Tensor:
    batch = collate([sample]).to(device)
    with torch.inference_mode():
        found = model(batch.images, batch.boxes)[:, 0] > 0
    return dice_of_each(found, batch.masks.flatten(0, 1) >= 0.5)


def dice_of_each(found: Tensor, truth: Tensor) -> Tensor:
    """Return the DSC of each of (K, L, L) masks; NaN where both are empty."""
    both = (found & truth).sum((1, 2))
    return 2 * both / (found.sum((1, 2)) + truth.sum((1, 2)))
