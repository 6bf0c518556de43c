"""Calibration: slices through the model, Gram matrices out of it.

Only the sums XᵀX are kept, so memory does not grow with the number of slices. Of
layers that see more than a few thousand rows in a slice, rows are drawn: neighbours
say nearly the same, and codes come out as good (docs/quantization.md).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.datasets.calibration import CalibrationSample
from napari_qmedsam.disk import atomic_write
from napari_qmedsam.errors import BadCheckpoint
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.quantization.gram import GramAccumulator
from napari_qmedsam.quantization.model_layers import QuantizableLayer


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

        def check() -> None:
            if not is_resumable:
                check_cancelled(f"Calibration stopped in slice {self.done}.")

        handles = [self._listen(layer, check) for layer in self.layers]
        try:
            for sample in samples[self.done :]:
                check_cancelled(f"Calibration stopped after {self.done} slices.")
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
        self, layer: QuantizableLayer, check: Callable[[], None]
    ) -> torch.utils.hooks.RemovableHandle:
        accumulator = self.sums[layer.name]

        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            check()
            # The same for every recipe, and after a stop.
            rows = layer.rows(inputs[0], torch.Generator().manual_seed(self.done))
            accumulator.add(rows.values, rows.count)

        return layer.module.register_forward_pre_hook(add)
