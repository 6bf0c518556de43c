"""Calibration slices: model inputs with boxes on them, from phantoms or volumes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.errors import CalibrationMismatch
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.phantoms.random_slices import random_slice
from napari_qmedsam.preprocessing import SliceGeometry, slice_image
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.volume import Volume

BOXES = 16
"""Boxes per calibration slice, at most. The decoder's layers see a few rows of
inputs per box, and need as many rows as they have inputs at the least."""

SMALLEST_BODY = 0.02
"""Slices where less than this share is brighter than the darkest grey are
passed over: there is nothing on them."""


@dataclass(frozen=True)
class CalibrationSample:
    """One slice as model input, with boxes on it.

    Parameters
    ----------
    image : ndarray, (3, S, S) float32
    boxes : ndarray, (n, 4) float32
        Corner pixels of the model input.
    """

    image: NDArray[np.float32]
    boxes: NDArray[np.float32]


@dataclass(frozen=True)
class CalibrationSet:
    """Slices and what is said of them in the model file.

    Parameters
    ----------
    samples : tuple of CalibrationSample
    provenance : dict
        Plain JSON: kind, slices, seed; of volumes their number and the checksum of
        what the model was shown. It goes into model files, which are passed on, so
        names of files stay out: people call them after patients.
    """

    samples: tuple[CalibrationSample, ...]
    provenance: dict

    def __post_init__(self) -> None:
        if not self.samples:
            raise CalibrationMismatch(
                "There is nothing to calibrate on: no slice with content was found."
            )


def from_phantoms(config: ModelConfig, count: int, seed: int = 0) -> CalibrationSet:
    """Return `count` phantom slices; the seeds are those of no training run.

    Raises
    ------
    Cancelled
        If the work is not wanted any more.
    """
    samples = []
    root = np.random.SeedSequence(entropy=seed, spawn_key=(0xCA1B,))
    for child in root.spawn(count):
        check_cancelled("Stopped while calibration slices were made.")
        rng = np.random.default_rng(child)
        phantom = random_slice(rng)
        geometry = SliceGeometry.of(config, *phantom.image.shape)
        values = np.unique(phantom.labels)[1:]
        chosen = rng.choice(values, min(BOXES, values.size), replace=False)
        boxes = [Box2D.enclosing(phantom.labels == value) for value in chosen]
        samples.append(_sample(geometry, phantom.image, boxes))
    provenance = {"kind": "phantoms", "slices": count, "seed": seed}
    return CalibrationSet(tuple(samples), provenance)


def from_volumes(
    config: ModelConfig, volumes: Sequence[Volume], count: int, seed: int = 0
) -> CalibrationSet:
    """Return `count` slices spread over volumes and their z-range.

    Slices without content are passed over. Boxes are drawn at random over the
    content, of all sizes.
    """
    rng = np.random.default_rng(seed)
    samples = []
    for number, volume in enumerate(volumes):
        share = count // len(volumes) + (number < count % len(volumes))
        window = volume.default_window()
        geometry = SliceGeometry.of(config, *volume.shape[1:])
        filled = [z for z in range(volume.shape[0]) if _body(volume, z).any()]
        if not filled or not share:
            continue
        places = np.linspace(0, len(filled) - 1, min(share, len(filled)))
        for place in places.round().astype(int):
            slice_index = filled[place]
            image = slice_image(volume.array, slice_index, window)
            boxes = _random_boxes(_body(volume, slice_index), rng)
            samples.append(_sample(geometry, image, boxes))
    provenance = {
        "kind": "volumes",
        "volumes": len(volumes),
        "slices": len(samples),
        "seed": seed,
        "sha256": _checksum(samples),
    }
    return CalibrationSet(tuple(samples), provenance)


def _checksum(samples: Sequence[CalibrationSample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(np.ascontiguousarray(sample.image).data)
        digest.update(np.ascontiguousarray(sample.boxes).data)
    return digest.hexdigest()


def _sample(
    geometry: SliceGeometry, image: NDArray[np.uint8], boxes: Sequence[Box2D]
) -> CalibrationSample:
    prompts = np.array([geometry.box_to_input(b) for b in boxes], np.float32)
    return CalibrationSample(geometry.prepare(image), prompts.reshape(-1, 4))


def _body(volume: Volume, slice_index: int) -> NDArray[np.bool_]:
    """Where a slice is brighter than the window's lower end; empty if hardly."""
    image = slice_image(volume.array, slice_index, volume.default_window())
    body = (image if image.ndim == 2 else image.max(axis=2)) > 25
    return body if body.mean() >= SMALLEST_BODY else np.zeros_like(body)


def _random_boxes(body: NDArray[np.bool_], rng: np.random.Generator) -> list[Box2D]:
    height, width = body.shape
    rows, columns = np.nonzero(body)
    boxes = []
    for _ in range(BOXES):
        pick = rng.integers(rows.size)
        half_y, half_x = rng.uniform(0.03, 0.25, 2) * (height, width)
        y, x = rows[pick] + 0.5, columns[pick] + 0.5
        box = Box2D(x - half_x, y - half_y, x + half_x, y + half_y)
        boxes.append(box.clip(height, width))
    return boxes
