"""Sequential calibration: the inputs a block gets from the quantized ones before it.

One pass over the slices per block, so each goes only as far as it must: it ends
at the block, and once the image encoder is quantized, slices are encoded once
more and their embeddings kept.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from napari_qmedsam.datasets.calibration import CalibrationSample
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.quantization.model_layers import QuantizableLayer

DECODER = "mask_decoder."


class _BlockDone(Exception):
    """The layers have been called: nothing behind them matters."""


class BlockByBlock:
    """Sends slices through a model as far as the layers of one block.

    Parameters
    ----------
    model : MedSAM
        Its blocks are quantized in order while this is in use.
    """

    def __init__(self, model: MedSAM) -> None:
        self._model = model
        self._embeddings: dict[int, Tensor] = {}

    def run(
        self, layers: Sequence[QuantizableLayer], number: int, sample: CalibrationSample
    ) -> None:
        """Run slice `number` until each of a block's layers was called.

        All blocks before it must have their final weights; for a block of the
        decoder, the whole image encoder.
        """
        waiting = {layer.module for layer in layers}

        def seen(module: nn.Module, inputs: Any, output: Any) -> None:
            waiting.discard(module)
            if not waiting:
                raise _BlockDone

        handles = [layer.module.register_forward_hook(seen) for layer in layers]
        try:
            with torch.inference_mode():
                boxes = torch.from_numpy(sample.boxes)
                if layers[0].name.startswith(DECODER):
                    self._model.decode(self._embedding(number, sample), boxes)
                else:
                    self._model(torch.from_numpy(sample.image)[None], boxes)
        except _BlockDone:
            pass
        finally:
            for handle in handles:
                handle.remove()

    def _embedding(self, number: int, sample: CalibrationSample) -> Tensor:
        if number not in self._embeddings:
            image = torch.from_numpy(sample.image)[None]
            self._embeddings[number] = self._model.image_encoder(image)
        return self._embeddings[number]
