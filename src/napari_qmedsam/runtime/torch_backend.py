"""The reference runtime: plain torch, in float32."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.models.split_decoder import PromptHalf, SliceHalf
from napari_qmedsam.runtime.prepared import PreparedSlices
from napari_qmedsam.runtime.protocol import Points, info_of
from napari_qmedsam.runtime.registry import BackendName, Device, Runtime

FLOATS = {Precision.BF16: torch.bfloat16, Precision.F16: torch.float16}

RUNTIME = Runtime(BackendName.TORCH)
"""On the GPU where there is one."""


class TorchBackend:
    """Runs a model in torch, on the GPU where there is one.

    Quantized models take integer values, as floats: torch shows what they
    answer, not how fast they are. On a GPU convolutions would run in TF32 by
    default; float32 is asked for.

    Raises
    ------
    UnsupportedBackend
        If a GPU is asked for and there is none.
    """

    def __init__(self, source: ModelSource, runtime: Runtime = RUNTIME) -> None:
        self.config = source.config
        if runtime.threads:
            torch.set_num_threads(runtime.threads)
        runtime.check_device(self.devices_here())
        self._device = _device(runtime.device)
        runtime.check_float(self.floats(Device(self._device.type)))
        self._autocast = FLOATS.get(runtime.precision)
        self._model = source.build().to(self._device)
        for module in self._model.image_encoder.modules():
            if not any(module.children()):
                module.register_forward_pre_hook(lambda *_: check_cancelled())
        self._prepared: PreparedSlices[tuple[torch.Tensor, ...]] | None = None
        if self._model.fake_quant is None:
            self._slice_half = SliceHalf(self._model)
            self._prompt_half = PromptHalf(self._model)
            self._prepared = PreparedSlices()
        held = sum(value.nbytes for value in self._model.state_dict().values())
        self.info = info_of(
            source,
            BackendName.TORCH,
            str(self._device),
            runtime.precision if self._autocast else None,
            memory_bytes=held,
        )

    @staticmethod
    def devices_here() -> tuple[Device, ...]:
        """Return the devices that torch finds, the CPU last."""
        there = {
            Device.CUDA: torch.cuda.is_available(),
            Device.MPS: torch.backends.mps.is_available(),
            Device.CPU: True,
        }
        return tuple(device for device, is_there in there.items() if is_there)

    @staticmethod
    def floats(device: Device) -> tuple[Precision, ...]:
        """Return the floats that a device here has instructions for."""
        kind = _device(device).type
        if kind == "cuda":
            return Precision.FP32, Precision.BF16, Precision.F16
        if kind == "mps":
            return Precision.FP32, Precision.F16
        has_bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return (Precision.FP32, Precision.BF16) if has_bf16 else (Precision.FP32,)

    @torch.inference_mode()
    def encode(self, model_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode one slice; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        image = torch.from_numpy(np.ascontiguousarray(model_input))[None]
        kind = self._device.type
        lower = (
            torch.autocast(kind, self._autocast) if self._autocast else nullcontext()
        )
        with self._float32(), lower:
            embedding = self._model.image_encoder(image.to(self._device))
        return embedding.float().cpu().numpy()

    @torch.inference_mode()
    def decode(
        self,
        image_embedding: NDArray[np.float32],
        boxes: NDArray[np.float32],
        points: Points | None = None,
    ) -> NDArray[np.float32]:
        """Decode boxes; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        prompt, refining = self._tensor(boxes), None
        if points is not None:
            refining = self._tensor(points[0]), self._tensor(points[1])
        with self._float32():
            if self._prepared is None:
                embedding = self._tensor(image_embedding)
                logits = self._model.decode(embedding, prompt, refining)[0][:, 0]
            else:
                logits = self._answer(image_embedding, prompt, refining)
        return logits.cpu().numpy()

    def _answer(
        self,
        embedding: NDArray[np.float32],
        boxes: torch.Tensor,
        points: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> torch.Tensor:
        """Logits by the decoder's halves: on a CPU box by box, within its cache."""
        assert self._prepared is not None
        prepared = self._prepared.of(embedding, self._prepare)
        step = 1 if self._device.type == "cpu" else max(1, len(boxes))
        blocks = [slice(i, i + step) for i in range(0, len(boxes), step)]
        return torch.cat(
            [
                self._prompt_half(
                    prepared,
                    boxes[block],
                    points and (points[0][block], points[1][block]),
                )
                for block in blocks
            ]
        )

    def _prepare(self, embedding: NDArray[np.float32]) -> tuple[torch.Tensor, ...]:
        return self._slice_half(self._tensor(embedding))

    def _tensor(self, values: NDArray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(self._device)

    def _float32(self) -> AbstractContextManager[None]:
        if self._device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def _device(asked: Device) -> torch.device:
    *others, _ = TorchBackend.devices_here()
    if asked is Device.AUTO:
        return torch.device((others or [Device.CPU])[0])
    return torch.device(asked)
