"""Training samples: a prepared slice, boxes on it, and the soft masks wanted."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from torch import Tensor

from napari_qmedsam.datasets.modality import LabelledSlice
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.training.boxes import (
    BoxStyle,
    careless,
    clicks,
    jittered,
    tight_box,
)

MIN_AREA = 60
"""Objects under this many pixels of the model input are not prompted."""

PAIRED = 0.1
"""Share of prompts for two objects of like grey at once, as a bowel cut twice."""


@dataclass(frozen=True)
class Prompting:
    """How objects are prompted.

    Parameters
    ----------
    boxes : int
        Of each slice.
    style : BoxStyle
    jitter : int
        Of jittered boxes, in pixels.
    points : int
        Beside each box.
    """

    boxes: int
    style: BoxStyle = BoxStyle.JITTERED
    jitter: int = 0
    points: int = 0


@dataclass(frozen=True, eq=False)
class EmbeddedSlice(LabelledSlice):
    """A labelled slice with what a frozen encoder makes of it.

    Parameters
    ----------
    embedding : ndarray, (C, E, E) float16
    """

    embedding: NDArray[np.float16]


@dataclass(frozen=True)
class Prompts:
    """K boxes on one slice, and what they mean.

    Parameters
    ----------
    boxes : ndarray, (K, 4) float32
        Corner pixels of the model input.
    masks : ndarray, (K, L, L) uint8
        Coverage of each low-res pixel, 0 to 255.
    tight : ndarray, (K, 4) float32
        The objects' own boxes, for a teacher.
    points : ndarray, (K, P, 2) float32
        x, y of the model input.
    point_labels : ndarray, (K, P) float32
        1 in the object, 0 beside it.
    """

    boxes: NDArray[np.float32]
    masks: NDArray[np.uint8]
    tight: NDArray[np.float32]
    points: NDArray[np.float32]
    point_labels: NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One slice as model input, with its prompts.

    Parameters
    ----------
    image : ndarray, (3, S, S) float32 in [0, 1]
    prompts : Prompts
    teacher_image : ndarray, (3, T, T) float32, optional
        The same slice as a teacher of another family wants it.
    embedding : ndarray, (C, E, E) float16, optional
        What a frozen encoder makes of the image.
    """

    image: NDArray[np.float32]
    prompts: Prompts
    teacher_image: NDArray[np.float32] | None = None
    embedding: NDArray[np.float16] | None = None


@dataclass(frozen=True)
class Batch:
    """N samples as tensors.

    (N, 3, S, S) images, (N * K, 4) boxes and tight boxes, (N, K, L, L) masks, of 0
    to 255 as samples have them, and of 0 to 1 on the device that trains, (N * K, P, 2)
    and (N * K, P) points and their labels, (N, C, E, E) embeddings where the encoder
    is frozen.
    """

    images: Tensor
    boxes: Tensor
    masks: Tensor
    tight: Tensor
    points: tuple[Tensor, Tensor] | None = None
    teacher_images: Tensor | None = None
    embeddings: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device, images with channels last."""
        moved = replace(
            self,
            images=self.images.to(device, memory_format=torch.channels_last),
            boxes=self.boxes.to(device),
            masks=_coverage(self.masks.to(device)),
            tight=self.tight.to(device),
        )
        if self.points is not None:
            points, labels = self.points
            moved = replace(moved, points=(points.to(device), labels.to(device)))
        if self.teacher_images is not None:
            moved = replace(moved, teacher_images=self.teacher_images.to(device))
        if self.embeddings is not None:
            moved = replace(moved, embeddings=self.embeddings.to(device).float())
        return moved


def _coverage(masks: Tensor) -> Tensor:
    return masks.float() / 255 if masks.dtype == torch.uint8 else masks


def make_sample(
    item: LabelledSlice,
    config: ModelConfig,
    how: Prompting,
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
    chosen = choose_prompts(image[1], labels, config.logits_size, how, rng)
    if chosen is None:
        return None
    other = None
    if teacher is not None:
        other = SliceGeometry.of(teacher, *item.labels.shape).prepare(item.image)
    embedding = item.embedding if isinstance(item, EmbeddedSlice) else None
    return Sample(image, chosen, other, embedding)


def choose_prompts(
    image: NDArray[np.float32],
    labels: NDArray[np.integer],
    logits_size: int,
    how: Prompting,
    rng: np.random.Generator,
) -> Prompts | None:
    """Choose objects of a slice and box them; None where there is no object.

    Parameters
    ----------
    image : ndarray, (S, S)
        Greys, to find objects that look alike.
    labels : ndarray, (S, S) integer
    logits_size : int
        L, a divisor of S.
    how : Prompting
        Objects come twice where there are fewer than its boxes.
    rng : numpy.random.Generator
    """
    size, count = image.shape[0], how.boxes
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
    if values.size >= count:
        chosen = rng.choice(values, count, replace=False, p=weights)
    else:
        extra = rng.choice(values, count - values.size, p=weights)
        chosen = np.concatenate([values, extra])
    grey = np.bincount(labels.ravel(), weights=image.ravel()) / np.maximum(areas, 1)
    factor = size // logits_size
    blocks = (logits_size, factor, logits_size, factor)
    boxes, tight = np.empty((2, count, 4), np.float32)
    masks = np.empty((count, logits_size, logits_size), np.uint8)
    points = np.empty((count, how.points, 2), np.float32)
    point_labels = np.empty((count, how.points), np.float32)
    for k, value in enumerate(chosen):
        mask = labels == value
        if values.size > 1 and rng.random() < PAIRED:
            others = values[values != value]
            mask |= labels == others[np.abs(grey[others] - grey[value]).argmin()]
        tight[k] = tight_box(mask)
        if how.style is BoxStyle.CARELESS:
            boxes[k] = careless(tight[k], size, rng)
        else:
            boxes[k] = jittered(tight[k], how.jitter, size, rng)
        if how.points:
            points[k], point_labels[k] = clicks(mask, boxes[k], how.points, rng)
        covered = mask.reshape(blocks).sum((1, 3))
        masks[k] = np.minimum(covered * 256 // factor**2, 255)
    return Prompts(boxes, masks, tight, points, point_labels)


def _area(extent: tuple[slice, ...]) -> int:
    return math.prod(side.stop - side.start for side in extent)


def collate(samples: list[Sample]) -> Batch:
    """Stack samples, which have the same number of boxes and of points."""
    teachers = [s.teacher_image for s in samples if s.teacher_image is not None]
    embeddings = [s.embedding for s in samples if s.embedding is not None]
    prompts = [s.prompts for s in samples]

    def joined(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(p, name) for p in prompts]))

    points = joined("points"), joined("point_labels")
    return Batch(
        images=torch.from_numpy(np.stack([s.image for s in samples])),
        boxes=joined("boxes"),
        masks=torch.from_numpy(np.stack([p.masks for p in prompts])),
        tight=joined("tight"),
        points=points if points[1].shape[1] else None,
        teacher_images=torch.from_numpy(np.stack(teachers)) if teachers else None,
        embeddings=torch.from_numpy(np.stack(embeddings)) if embeddings else None,
    )
