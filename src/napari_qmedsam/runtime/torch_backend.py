"""The reference runtime: plain torch, in float32."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.runtime.protocol import BackendName, Points, info_of


class TorchBackend:
    """Runs a model in torch, on the GPU where there is one.

    Quantized models take integer values, as floats: torch shows what they
    answer, not how fast they are. On a GPU convolutions would run in TF32 by
    default; float32 is asked for.
    """

    def __init__(self, source: ModelSource, device: str | None = None) -> None:
        self.config = source.config
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._device = torch.device(chosen)
        self._model = source.build().to(self._device)
        for module in self._model.image_encoder.modules():
            if not any(module.children()):
                module.register_forward_pre_hook(lambda *_: check_cancelled())
        held = sum(value.nbytes for value in self._model.state_dict().values())
        precision = source.arithmetic.precision
        self.info = info_of(
            source, BackendName.TORCH, str(self._device), precision, held
        )

    @torch.inference_mode()
    def encode(self, model_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode one slice; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        image = torch.from_numpy(np.ascontiguousarray(model_input))[None]
        with self._float32():
            return self._model.image_encoder(image.to(self._device)).cpu().numpy()

    @torch.inference_mode()
    def decode(
        self,
        image_embedding: NDArray[np.float32],
        boxes: NDArray[np.float32],
        points: Points | None = None,
    ) -> NDArray[np.float32]:
        """Decode boxes; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        embedding, prompt = self._tensor(image_embedding), self._tensor(boxes)
        refining = None
        if points is not None:
            refining = self._tensor(points[0]), self._tensor(points[1])
        with self._float32():
            logits = self._model.decode(embedding, prompt, refining)[0]
        return logits[:, 0].cpu().numpy()

    def _tensor(self, values: NDArray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(self._device)

    def _float32(self) -> AbstractContextManager[None]:
        if self._device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
