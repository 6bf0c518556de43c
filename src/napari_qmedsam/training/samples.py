"""Training samples: a prepared slice, boxes on it, and the soft masks wanted."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from torch import Tensor

from napari_qmedsam.datasets.modality import LabelledSlice
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.preprocessing import SliceGeometry

MIN_AREA = 60
"""Objects under this many pixels of the model input are not prompted."""

PAIRED = 0.1
"""Share of prompts for two objects of like grey at once, as a bowel cut twice."""


@dataclass(frozen=True)
class Prompts:
    """K boxes on one slice, and what they mean.

    Parameters
    ----------
    boxes : ndarray, (K, 4) float32
        Corner pixels of the model input.
    masks : ndarray, (K, L, L) uint8
        Coverage of each low-res pixel, 0 to 255.
    """

    boxes: NDArray[np.float32]
    masks: NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """One slice as model input, with its prompts.

    Parameters
    ----------
    image : ndarray, (3, S, S) float32 in [0, 1]
    prompts : Prompts
    teacher_image : ndarray, (3, T, T) float32, optional
        The same slice as a teacher of another family wants it.
    """

    image: NDArray[np.float32]
    prompts: Prompts
    teacher_image: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Batch:
    """N samples as tensors.

    (N, 3, S, S) images, (N * K, 4) boxes, (N, K, L, L) masks in [0, 1].
    """

    images: Tensor
    boxes: Tensor
    masks: Tensor
    teacher_images: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device, images with channels last."""
        teacher = self.teacher_images
        return Batch(
            self.images.to(device, memory_format=torch.channels_last),
            self.boxes.to(device),
            self.masks.to(device),
            None if teacher is None else teacher.to(device),
        )


def make_sample(
    item: LabelledSlice,
    config: ModelConfig,
    prompts: int,
    jitter: int,
    rng: np.random.Generator,
    teacher: ModelConfig | None = None,
) -> Sample | None:
    """Prepare a slice as for inference and prompt its objects.

    None where no object is large enough.
    """
    geometry = SliceGeometry.of(config, *item.labels.shape)
    rows, columns = geometry.content
    side = config.input_size
    # OpenCV resizes no 32-bit integers; few files need more than 16 bits.
    plain = item.labels.astype(np.int32).astype(np.float32)
    labels = np.zeros((side, side), np.int32)
    labels[:rows, :columns] = cv2.resize(
        plain, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT
    )
    image = geometry.prepare(item.image)
    chosen = choose_prompts(image[1], labels, config.logits_size, prompts, jitter, rng)
    if chosen is None:
        return None
    other = None
    if teacher is not None:
        other = SliceGeometry.of(teacher, *item.labels.shape).prepare(item.image)
    return Sample(image, chosen, other)


def choose_prompts(
    image: NDArray[np.float32],
    labels: NDArray[np.integer],
    logits_size: int,
    prompts: int,
    jitter: int,
    rng: np.random.Generator,
) -> Prompts | None:
    """Choose objects of a slice and box them; None where there is no object.

    Half of the boxes are tight; of the others each side moves by up to
    `jitter` pixels. Maxima are often a pixel or two short, as they are when
    the box of a coarser image is scaled to the model input.

    Parameters
    ----------
    image : ndarray, (S, S)
        Greys, to find objects that look alike.
    labels : ndarray, (S, S) integer
    logits_size : int
        L, a divisor of S.
    prompts : int
        K; objects come twice where there are fewer.
    jitter : int
    rng : numpy.random.Generator
    """
    size = image.shape[0]
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    values = np.flatnonzero(areas >= MIN_AREA)
    if values.size == 0:
        return None
    # Half of all phantom objects are tiny, and convex ones fill their box. By
    # the root of the box area, large and winding ones come up often enough, and
    # by what they leave of it, hollow ones, which are the hardest.
    extents = find_objects(labels)
    boxed = np.array([_area(extents[v - 1]) for v in values])
    weights = np.sqrt(boxed) * (1.3 - areas[values] / boxed)
    weights /= weights.sum()
    if values.size >= prompts:
        chosen = rng.choice(values, prompts, replace=False, p=weights)
    else:
        extra = rng.choice(values, prompts - values.size, p=weights)
        chosen = np.concatenate([values, extra])
    grey = np.bincount(labels.ravel(), weights=image.ravel()) / np.maximum(areas, 1)
    factor = size // logits_size
    blocks = (logits_size, factor, logits_size, factor)
    boxes = np.empty((prompts, 4), np.float32)
    masks = np.empty((prompts, logits_size, logits_size), np.uint8)
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
        covered = mask.reshape(blocks).sum((1, 3))
        masks[k] = np.minimum(covered * 256 // factor**2, 255)
    return Prompts(boxes, masks)


def _area(extent: tuple[slice, ...]) -> int:
    return math.prod(side.stop - side.start for side in extent)


def collate(samples: list[Sample]) -> Batch:
    """Stack samples."""
    teachers = [s.teacher_image for s in samples if s.teacher_image is not None]
    return Batch(
        images=torch.from_numpy(np.stack([s.image for s in samples])),
        boxes=torch.from_numpy(np.concatenate([s.prompts.boxes for s in samples])),
        masks=torch.from_numpy(np.stack([s.prompts.masks for s in samples])).float()
        / 255,
        teacher_images=torch.from_numpy(np.stack(teachers)) if teachers else None,
    )
