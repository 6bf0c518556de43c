"""Scores of a model on labelled slices, each object by its tight box."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch

from napari_qmedsam.datasets.files import find_labelled
from napari_qmedsam.evaluation.prompted_slices import PromptedSlice, prompted_slices
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.phantoms.random_slices import phantom_test_set
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.volumes import Volume, Window, read_labels, read_volume


@cache
def phantom_slices(count: int, seed: int = 0) -> tuple[PromptedSlice, ...]:
    """Return `count` phantom slices that no training seed gives; pixels are 1 mm."""
    return tuple(
        item
        for phantom in phantom_test_set(count, seed)
        for item in prompted_slices(
            Volume(phantom.image[None]), phantom.labels[None], window=Window(0, 255)
        )
        if item.class_ids
    )


@cache
def case_slices(folder: Path) -> tuple[PromptedSlice, ...]:
    """Return the labelled slices of every case in a folder.

    Parameters
    ----------
    folder : Path
        In a layout of :func:`~napari_qmedsam.datasets.files.find_labelled`.

    Raises
    ------
    UnusableData, GridMismatch, UnreadableVolume
        As that function.
    """
    return tuple(item for item in _of_cases(folder) if item.class_ids)


def score(model: MedSAM, slices: Iterable[PromptedSlice]) -> Scores:
    """Return the means over every object of the slices.

    Parameters
    ----------
    model : MedSAM
        In eval mode.
    slices : iterable of PromptedSlice
        With at least one object.
    """
    return Scores.mean(s for item in object_scores(model, slices) for s in item)


def object_scores(model: MedSAM, slices: Iterable[PromptedSlice]) -> list[list[Scores]]:
    """Return the scores of every object of each slice.

    Parameters are those of :func:`score`.
    """
    scores = []
    for item in slices:
        image = item.image
        geometry = SliceGeometry.of(
            model.config, *image.shape[:2], item.volume.pixel_aspect
        )
        boxes = [geometry.box_to_input(box) for box in item.boxes]
        with torch.inference_mode():
            logits = model(
                torch.from_numpy(geometry.prepare(image))[None],
                torch.from_numpy(np.array(boxes, np.float32)),
            )
        scores.append(item.scores(geometry.logits_to_masks(logits[:, 0].numpy())))
    return scores


def _of_cases(folder: Path) -> Iterator[PromptedSlice]:
    for case in find_labelled(folder):
        volume = read_volume(case.image)
        yield from prompted_slices(volume, read_labels(case.labels, volume).array)
