"""DSC and NSD of a model on phantom slices that no training seed gives."""

from dataclasses import dataclass
from functools import cache
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from napari_qmedsam.evaluation.metrics import dice, normalized_surface_distance
from napari_qmedsam.evaluation.volumes import MINIMUM_VOXELS
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.prompts import Box2D

TOLERANCE = 2.0
"""Of the NSD, in pixels of the phantom: its spacing is 1 mm."""


@dataclass(frozen=True)
class ScoredSlice:
    """One prepared slice with the boxes and masks of its objects."""

    geometry: SliceGeometry
    image: NDArray[np.float32]
    boxes: NDArray[np.float32]
    masks: NDArray[np.bool_]


@cache
def scored_slices(
    config: ModelConfig, count: int, seed: int
) -> tuple[ScoredSlice, ...]:
    """Return `count` phantom slices, every object of 100 pixels by its tight box."""
    from napari_qmedsam.volumes.phantoms.random_slices import phantom_test_set

    slices = []
    for phantom in phantom_test_set(count, seed):
        areas = np.bincount(phantom.labels.ravel())
        values = [v for v in range(1, areas.size) if areas[v] >= MINIMUM_VOXELS]
        if not values:
            continue
        geometry = SliceGeometry.of(config, *phantom.image.shape)
        masks = np.stack([phantom.labels == value for value in values])
        boxes = [Box2D.enclosing(mask) for mask in masks]
        slices.append(
            ScoredSlice(
                geometry,
                geometry.prepare(phantom.image),
                np.array([geometry.box_to_input(b) for b in boxes], np.float32),
                masks,
            )
        )
    return tuple(slices)


def score(model: MedSAM, count: int, seed: int = 0) -> tuple[float, float]:
    """Return mean DSC and NSD in percent over every object of the slices.

    Parameters
    ----------
    model : MedSAM
        In eval mode.
    count : int
        Slices.
    seed : int
    """
    pairs = []
    for item in scored_slices(model.config, count, seed):
        with torch.inference_mode():
            logits = model(
                torch.from_numpy(item.image)[None], torch.from_numpy(item.boxes)
            )
        found = item.geometry.logits_to_masks(logits[:, 0].numpy())
        pairs += [
            (
                dice(mask, truth),
                normalized_surface_distance(mask, truth, (1.0, 1.0), TOLERANCE),
            )
            for mask, truth in zip(found, item.masks, strict=True)
        ]
    dsc, nsd = (100 * fmean(column) for column in zip(*pairs, strict=True))
    return dsc, nsd
