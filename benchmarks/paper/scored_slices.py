"""Scores of a model on labelled slices, each object by its tight box."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from napari_qmedsam.datasets.files import find_labelled
from napari_qmedsam.evaluation.prompted_slices import PromptedSlice, prompted_slices
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.phantoms.random_slices import phantom_test_set
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.runtime.protocol import Backend
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
def case_slices(
    folder: Path,
    classes: tuple[int, ...] | None = None,
    besides: tuple[int, ...] = (),
    step: int = 1,
) -> tuple[PromptedSlice, ...]:
    """Return the labelled slices of every case in a folder.

    Parameters
    ----------
    folder : Path
        In a layout of :func:`~napari_qmedsam.datasets.files.find_labelled`.
    classes : tuple of int, optional
        Values of the labels; default: all but those of `besides`.
    besides : tuple of int
    step : int
        Takes every so many slices of a case.

    Raises
    ------
    UnusableData, GridMismatch, UnreadableVolume
        As that function.
    """
    return tuple(
        item
        for item in _of_cases(folder, classes, besides)
        if item.class_ids and item.slice_index % step == 0
    )


def scored_sets(
    phantoms: int,
    seed: int = 0,
    cases: Path | None = None,
    organs: Sequence[int] | None = None,
    every: int = 1,
) -> dict[str, tuple[PromptedSlice, ...]]:
    """Return what models are scored on, by name.

    Parameters
    ----------
    phantoms : int
        Phantom slices.
    seed : int
        Of the phantoms.
    cases : Path, optional
        Folder with labelled cases.
    organs : sequence of int, optional
        Labels of organs: ``organs`` and ``others`` are sets of their own then.
    every : int
        Takes every so many slices of the cases.
    """
    found = {"phantoms": phantom_slices(phantoms, seed)} if phantoms else {}
    if cases is not None and organs:
        chosen = tuple(organs)
        found["organs"] = case_slices(cases, chosen, step=every)
        found["others"] = case_slices(cases, besides=chosen, step=every)
    elif cases is not None:
        found[cases.name] = case_slices(cases, step=every)
    return {name: slices for name, slices in found.items() if slices}


class Judged(Protocol):
    """What is scored: a model, or graphs that are called like one."""

    config: ModelConfig

    def __call__(self, image: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Return low-res logits, (boxes, 1, h, w)."""


class Graphs:
    """A backend that is called like a model."""

    def __init__(self, backend: Backend) -> None:
        self.config, self._backend = backend.config, backend

    def __call__(self, image: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Return low-res logits, (boxes, 1, h, w)."""
        embedding = self._backend.encode(image[0].numpy())
        logits = self._backend.decode(embedding, boxes.numpy())
        return torch.from_numpy(logits)[:, None]


def score(model: Judged, slices: Iterable[PromptedSlice]) -> Scores:
    """Return the means over every object of the slices.

    Parameters
    ----------
    model : Judged
        In eval mode.
    slices : iterable of PromptedSlice
        With at least one object.
    """
    return Scores.mean(s for item in object_scores(model, slices) for s in item)


def object_scores(model: Judged, slices: Iterable[PromptedSlice]) -> list[list[Scores]]:
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


def _of_cases(
    folder: Path, classes: tuple[int, ...] | None, besides: tuple[int, ...]
) -> Iterator[PromptedSlice]:
    for case in find_labelled(folder):
        volume = read_volume(case.image)
        labels = read_labels(case.labels, volume).array
        wanted = [c for c in np.unique(labels) if c not in besides]
        if classes is not None:
            wanted = [c for c in wanted if c in classes]
        yield from prompted_slices(volume, labels, classes=wanted)
