"""Calibration: slices through the model, Gram matrices out of it.

Only the sums XᵀX are kept, so memory does not grow with the number of slices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.disk import atomic_write
from napari_qmedsam.errors import BadCheckpoint, CalibrationMismatch, Cancelled
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.preprocessing import SliceGeometry, slice_image
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.quantization.gram import GramAccumulator
from napari_qmedsam.quantization.model_layers import QuantizableLayer
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
        Plain JSON: kind, files, slices, seed.
    """

    samples: tuple[CalibrationSample, ...]
    provenance: dict

    def __post_init__(self) -> None:
        if not self.samples:
            raise CalibrationMismatch(
                "There is nothing to calibrate on: no slice with content was found."
            )


def from_phantoms(
    config: ModelConfig,
    count: int,
    seed: int = 0,
    should_cancel: Callable[[], bool] = lambda: False,
) -> CalibrationSet:
    """Return `count` phantom slices; the seeds are those of no training run.

    Raises
    ------
    Cancelled
        If `should_cancel`, asked before each slice, said so.
    """
    from napari_qmedsam.phantoms.random_slices import random_slice

    samples = []
    root = np.random.SeedSequence(entropy=seed, spawn_key=(0xCA1B,))
    for child in root.spawn(count):
        if should_cancel():
            raise Cancelled("Stopped while calibration slices were made.")
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
        "files": [Path(v.source.path).name for v in volumes],
        "slices": len(samples),
        "seed": seed,
    }
    return CalibrationSet(tuple(samples), provenance)


class GramPass:
    """Sums XᵀX of several layers over calibration slices; can stop and resume.

    Parameters
    ----------
    layers : sequence of QuantizableLayer
        Of one model.
    """

    def __init__(self, layers: Sequence[QuantizableLayer]) -> None:
        self.layers = list(layers)
        self.sums: dict[str, GramAccumulator] = {
            layer.name: layer.accumulator() for layer in layers
        }
        self.done = 0

    def run(
        self,
        model: MedSAM,
        samples: Sequence[CalibrationSample],
        progress: Callable[[int, int], None] = lambda done, total: None,
        should_cancel: Callable[[], bool] = lambda: False,
        forward: Callable[[int, CalibrationSample], None] | None = None,
        *,
        is_resumable: bool = True,
    ) -> None:
        """Send the samples not yet seen through the model.

        `forward` runs one sample, given its number, where not all of the model
        is needed.

        Raises
        ------
        Cancelled
            Between two slices; what was summed stays, and `run` goes on there.
            Unless `is_resumable`, between two layers of a slice as well, and the
            sums are worth nothing then.
        """

        def look() -> None:
            if not is_resumable:
                check_cancelled()
                if should_cancel():
                    raise Cancelled(f"Calibration stopped in slice {self.done}.")

        handles = [self._listen(layer, look) for layer in self.layers]
        try:
            for sample in samples[self.done :]:
                if should_cancel():
                    raise Cancelled(f"Calibration stopped after {self.done} slices.")
                if forward is not None:
                    forward(self.done, sample)
                else:
                    with torch.inference_mode():
                        model(
                            torch.from_numpy(sample.image)[None],
                            torch.from_numpy(sample.boxes),
                        )
                self.done += 1
                progress(self.done, len(samples))
        finally:
            for handle in handles:
                handle.remove()

    def copy(self) -> "GramPass":
        """Return a pass with the same sums, which can be taken from it."""
        twin = GramPass([])
        twin.layers, twin.done = self.layers, self.done
        twin.sums = dict(self.sums)
        return twin

    def take(self, layer: QuantizableLayer) -> Tensor:
        """Return a layer's Gram matrix and let go of its sum.

        Raises
        ------
        KeyError
            If it was taken before.
        """
        return self.sums.pop(layer.name).matrix

    def save(self, path: Path, key: str = "") -> None:
        """Keep the sums, to resume in another process.

        `key` says what they were summed over: weights and slices.
        """
        state = {
            "key": key,
            "done": self.done,
            "grams": {name: s.gram for name, s in self.sums.items()},
            "rows": {name: s.rows for name, s in self.sums.items()},
        }
        with atomic_write(path) as part:
            torch.save(state, part)

    def resume(self, path: Path, key: str = "") -> None:
        """Take the sums of an earlier pass over the same layers.

        Raises
        ------
        BadCheckpoint
            If the file is damaged, or belongs to other layers or another key.
        """
        try:
            state = torch.load(path, weights_only=True)
            grams, rows, done = state["grams"], state["rows"], state["done"]
        except Exception as error:  # torch raises many unrelated types here
            raise BadCheckpoint(f"Cannot resume calibration from '{path}'.") from error
        if set(grams) != set(self.sums) or state.get("key", "") != key:
            raise BadCheckpoint(
                f"'{path}' holds the calibration of another model, or on other "
                "slices. Give another file, or delete it."
            )
        for name, accumulator in self.sums.items():
            accumulator.gram, accumulator.rows = grams[name], rows[name]
        self.done = done

    def _listen(
        self, layer: QuantizableLayer, look: Callable[[], None]
    ) -> torch.utils.hooks.RemovableHandle:
        accumulator = self.sums[layer.name]

        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            look()
            accumulator.add(layer.rows(inputs[0]))

        return layer.module.register_forward_pre_hook(add)


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
