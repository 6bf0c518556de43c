"""Training samples: a phantom slice, boxes on it, and the soft masks wanted.

Sample `i` of a seed is always the same, whichever process makes it, so a run
that is killed goes on where it stopped.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from torch import Tensor
from torch.utils.data import Dataset

from napari_qmedsam.volumes.phantoms.random_slices import random_slice

MIN_AREA = 60
"""Objects under this many pixels of the model input are not prompted."""

PAIRED = 0.08
"""Share of prompts for two objects of like grey at once, as a bowel cut twice."""


@dataclass(frozen=True)
class Sample:
    """One slice with K prompts.

    Parameters
    ----------
    image : ndarray, (S, S) uint8
    boxes : ndarray, (K, 4) float32
        Corner pixels of the model input.
    masks : ndarray, (K, S / 2, S / 2) uint8
        Coverage of each low-res pixel, 0 to 255.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    masks: NDArray[np.uint8]


@dataclass(frozen=True)
class Batch:
    """N samples as tensors: (N, 1, S, S), (N * K, 4), (N, K, S / 2, S / 2)."""

    images: Tensor
    boxes: Tensor
    masks: Tensor


class PhantomSamples(Dataset[Sample]):
    """Endless phantoms, indexed: sample `i` is a function of (seed, i).

    Parameters
    ----------
    seed : int
    size : int
        Side of the model input.
    count : int
        Length reported to samplers.
    prompts : int
        Boxes per slice.
    jitter : callable, optional
        From sample index to the largest shift of a box side in pixels.
    """

    def __init__(
        self,
        seed: int,
        size: int,
        count: int,
        prompts: int = 6,
        max_jitter: int = 5,
        jitter_from: int = 0,
    ) -> None:
        self.seed, self.size, self.count, self.prompts = seed, size, count, prompts
        self.max_jitter, self.jitter_from = max_jitter, jitter_from

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((self.seed, index))
        jitter = self.max_jitter if index >= self.jitter_from else 0
        while True:
            phantom = random_slice(rng, self.size)
            sample = make_sample(
                phantom.image, phantom.labels, self.prompts, jitter, rng
            )
            if sample is not None:
                return sample


def make_sample(
    image: NDArray[np.uint8],
    labels: NDArray,
    prompts: int,
    jitter: int,
    rng: np.random.Generator,
) -> Sample | None:
    """Choose objects of a slice and box them; None where there is no object.

    Half of the boxes are tight; of the others each side moves by up to
    `jitter` pixels. Maxima are often a pixel or two short, as they are when
    the box of a coarser image is scaled to the model input.
    """
    size = image.shape[0]
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    values = np.flatnonzero(areas >= MIN_AREA)
    if values.size == 0:
        return None
    # Half of all phantom objects are tiny, and convex ones fill their box. By
    # the root of the box area, large and winding ones come up often enough.
    extents = find_objects(labels)
    weights = np.array([math.sqrt(_area(extents[v - 1])) for v in values])
    weights /= weights.sum()
    if values.size >= prompts:
        chosen = rng.choice(values, prompts, replace=False, p=weights)
    else:
        extra = rng.choice(values, prompts - values.size, p=weights)
        chosen = np.concatenate([values, extra])
    grey = np.bincount(labels.ravel(), weights=image.ravel()) / np.maximum(areas, 1)
    boxes = np.empty((prompts, 4), np.float32)
    masks = np.empty((prompts, size // 2, size // 2), np.uint8)
    for k, value in enumerate(chosen):
        mask = labels == value
        if values.size > 1 and rng.random() < PAIRED:
            others = values[values != value]
            mask |= labels == others[np.abs(grey[others] - grey[value]).argmin()]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)
        box[2:] -= rng.integers(0, 3) * (rng.random() < 0.6)
        if jitter and rng.random() < 0.5:
            reach = min(jitter, max(1, int(0.1 * (box[2:] - box[:2]).max())))
            box += rng.integers(-reach, reach + 1, 4)
        box = np.clip(box, 0, size - 1)
        box[2:] = np.maximum(box[2:], box[:2] + 1)
        boxes[k] = box
        quarters = mask.reshape(size // 2, 2, size // 2, 2).sum((1, 3))
        masks[k] = np.minimum(quarters * 64, 255)
    return Sample(image, boxes, masks)


def _area(extent: tuple[slice, ...]) -> int:
    return math.prod(side.stop - side.start for side in extent)


def collate(samples: list[Sample]) -> Batch:
    """Stack samples; images become float in [0, 1], min-max normalised each."""
    images = torch.from_numpy(np.stack([s.image for s in samples]))[:, None].float()
    lowest = images.amin((1, 2, 3), keepdim=True)
    span = (images.amax((1, 2, 3), keepdim=True) - lowest).clamp(min=1)
    return Batch(
        images=(images - lowest) / span,
        boxes=torch.from_numpy(np.concatenate([s.boxes for s in samples])),
        masks=torch.from_numpy(np.stack([s.masks for s in samples])).float() / 255,
    )
