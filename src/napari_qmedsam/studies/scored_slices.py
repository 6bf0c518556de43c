"""DSC and NSD of a model on labelled slices, each object by its tight box."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_qmedsam.evaluation.metrics import dice, normalized_surface_distance
from napari_qmedsam.evaluation.volumes import MINIMUM_VOXELS
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.preprocessing import SliceGeometry, slice_image
from napari_qmedsam.prompts import Box2D

TOLERANCE_MM = 2.0
"""Of the NSD; pixels of phantoms are 1 mm."""

PIXEL = (1.0, 1.0)
"""Spacing of phantom slices in mm."""


@dataclass(frozen=True, eq=False)
class ScoredSlice:
    """One prepared slice with the boxes and masks of its objects.

    Parameters
    ----------
    geometry : SliceGeometry
    image : ndarray, (3, S, S) float32
        Model input.
    boxes : ndarray, (n, 4) float32
        Corner pixels of the model input.
    masks : ndarray, (n, Y, X) bool
    spacing_mm : (float, float)
        Along y and x.
    """

    geometry: SliceGeometry
    image: NDArray[np.float32]
    boxes: NDArray[np.float32]
    masks: NDArray[np.bool_]
    spacing_mm: tuple[float, float]


@cache
def phantom_slices(
    config: ModelConfig, count: int, seed: int = 0
) -> tuple[ScoredSlice, ...]:
    """Return `count` phantom slices that no training seed gives."""
    from napari_qmedsam.phantoms.random_slices import phantom_test_set

    made = (
        _scored(config, phantom.image, phantom.labels, PIXEL)
        for phantom in phantom_test_set(count, seed)
    )
    return tuple(item for item in made if item is not None)


@cache
def case_slices(config: ModelConfig, folder: Path) -> tuple[ScoredSlice, ...]:
    """Return the labelled slices of every case in a folder.

    Parameters
    ----------
    config : ModelConfig
    folder : Path
        In a layout of :func:`~napari_qmedsam.datasets.files.find_labelled`.

    Raises
    ------
    UnusableData, GridMismatch, UnreadableVolume
        As that function.
    """
    return tuple(_of_cases(config, folder))


def score(model: MedSAM, slices: Iterable[ScoredSlice]) -> tuple[float, float]:
    """Return mean DSC and NSD in percent over every object of the slices.

    Parameters
    ----------
    model : MedSAM
        In eval mode.
    slices : iterable of ScoredSlice
        With at least one object.
    """
    dsc, nsd = np.concatenate(object_scores(model, slices)).mean(0)
    return float(dsc), float(nsd)


def object_scores(
    model: MedSAM, slices: Iterable[ScoredSlice]
) -> list[NDArray[np.float64]]:
    """Return DSC and NSD in percent of every object, (n, 2) for each slice.

    Parameters are those of :func:`score`.
    """
    scores = []
    for item in slices:
        with torch.inference_mode():
            logits = model(
                torch.from_numpy(item.image)[None], torch.from_numpy(item.boxes)
            )
        found = item.geometry.logits_to_masks(logits[:, 0].numpy())
        pairs = [
            (
                dice(mask, truth),
                normalized_surface_distance(mask, truth, item.spacing_mm, TOLERANCE_MM),
            )
            for mask, truth in zip(found, item.masks, strict=True)
        ]
        scores.append(100 * np.array(pairs))
    return scores


def _of_cases(config: ModelConfig, folder: Path) -> Iterator[ScoredSlice]:
    from napari_qmedsam.datasets.files import find_labelled
    from napari_qmedsam.volumes.labels import read_labels
    from napari_qmedsam.volumes.reading import read_volume

    for case in find_labelled(folder):
        volume = read_volume(case.image)
        labels = read_labels(case.labels, like=volume).array
        window = volume.default_window()
        spacing = volume.spacing_mm[1], volume.spacing_mm[2]
        for index, plane in enumerate(labels):
            image = slice_image(volume.array, index, window)
            scored = _scored(config, image, plane, spacing)
            if scored is not None:
                yield scored


def _scored(
    config: ModelConfig,
    image: NDArray[np.uint8],
    labels: NDArray[np.integer],
    spacing_mm: tuple[float, float],
) -> ScoredSlice | None:
    """Prepare a slice; None if no object on it is large enough."""
    areas = np.bincount(labels.ravel())
    values = [v for v in range(1, areas.size) if areas[v] >= MINIMUM_VOXELS]
    if not values:
        return None
    geometry = SliceGeometry.of(config, *image.shape[:2])
    masks = np.stack([labels == value for value in values])
    boxes = [geometry.box_to_input(Box2D.enclosing(mask)) for mask in masks]
    prepared = geometry.prepare(image)
    return ScoredSlice(
        geometry, prepared, np.array(boxes, np.float32), masks, spacing_mm
    )
