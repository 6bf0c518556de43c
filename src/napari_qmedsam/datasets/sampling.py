"""How many slices of each modality make an epoch, and in what order."""

from enum import Enum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.datasets.dataset import PHANTOM_SAMPLES, DataSet
from napari_qmedsam.errors import UnusableData


class Strategy(str, Enum):
    """N_s of QMedSAM, section 4.4, from the slice counts N_m of all modalities."""

    MINIMUM = "minimum"
    """Of each modality as many as the smallest has."""

    TENTH = "tenth"
    """A tenth of each modality, but no fewer than the smallest has."""

    ALL = "all"
    """Every slice."""


def samples_per_modality(
    data: DataSet, strategy: Strategy, samples: int | None = None
) -> tuple[int, ...]:
    """Return N_s for each modality.

    Parameters
    ----------
    data : DataSet
    strategy : Strategy
    samples : int, optional
        The same N_s for all, in place of the strategy.

    Raises
    ------
    UnusableData
        If a modality has fewer slices than `samples`.
    """
    counts = data.counts
    if samples is None and data.is_phantom:
        samples = PHANTOM_SAMPLES
    if samples is not None:
        for name, count in zip(data.names, counts, strict=True):
            if count < samples:
                raise UnusableData(
                    f"Modality '{name}' of '{data.source}' has {count} slices, but "
                    f"{samples} are to be sampled per epoch. Lower 'samples', leave "
                    "it out to take as many as the smallest modality has, or add data."
                )
        return (samples,) * len(counts)
    smallest = min(counts)
    if strategy is Strategy.MINIMUM:
        return (smallest,) * len(counts)
    if strategy is Strategy.TENTH:
        return tuple(max(count // 10, smallest) for count in counts)
    return counts


@lru_cache(maxsize=2)
def epoch_order(
    counts: tuple[int, ...], samples: tuple[int, ...], seed: int, epoch: int
) -> NDArray[np.int64]:
    """Draw an epoch: without repetition from each modality, then shuffled.

    A function of its arguments alone, whichever process asks.

    Parameters
    ----------
    counts, samples : tuple of int
        N_m and N_s of each modality.
    seed, epoch : int

    Returns
    -------
    ndarray, (sum of samples, 2)
        Number of the modality, and of the slice in it.
    """
    rng = np.random.default_rng((seed, epoch))
    parts = [
        np.stack(
            [np.full(wanted, number), rng.choice(count, wanted, replace=False)], axis=1
        )
        for number, (count, wanted) in enumerate(zip(counts, samples, strict=True))
    ]
    order = rng.permutation(np.concatenate(parts))
    order.setflags(write=False)
    return order
