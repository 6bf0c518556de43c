"""The reference runtime: plain torch in float32."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from napari_qmedsam.models.checkpoints import ModelSource
from napari_qmedsam.runtime.protocol import BackendName, info_of


class TorchBackend:
    """Runs a model in torch, on the GPU where there is one.

    Convolutions would run in TF32 by default there; float32 is asked for.
    """

    def __init__(self, source: ModelSource, device: str | None = None) -> None:
        self.config = source.config
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._device = torch.device(chosen)
        self._model = source.build().to(self._device)
        self.info = info_of(source, BackendName.TORCH, str(self._device))

    @torch.inference_mode()
    def encode(self, model_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode one slice; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        image = torch.from_numpy(np.ascontiguousarray(model_input))[None]
        with self._float32():
            return self._model.image_encoder(image.to(self._device)).cpu().numpy()

    @torch.inference_mode()
    def decode(
        self, image_embedding: NDArray[np.float32], boxes: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Decode boxes; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        embedding = torch.from_numpy(image_embedding).to(self._device)
        prompt = torch.from_numpy(np.asarray(boxes, np.float32)).to(self._device)
        with self._float32():
            return self._model.decode(embedding, prompt)[0][:, 0].cpu().numpy()

    def _float32(self) -> AbstractContextManager[None]:
        if self._device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
