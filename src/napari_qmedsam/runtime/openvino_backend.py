"""The default runtime on CPUs: OpenVINO."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.arithmetic import Arithmetic, Precision
from napari_qmedsam.checkpoints.openvino_import import openvino_core
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.runtime.conversion import converted, points_decoder
from napari_qmedsam.runtime.executed import any_int8
from napari_qmedsam.runtime.graph_inputs import as_logits, decoder_inputs
from napari_qmedsam.runtime.overflow import IN_FLOAT, would_overflow
from napari_qmedsam.runtime.prepared import PreparedSlices
from napari_qmedsam.runtime.protocol import Points, info_of
from napari_qmedsam.runtime.registry import BackendName, Device, Runtime

if TYPE_CHECKING:
    import openvino

POLL_MILLISECONDS = 50
"""Time between two looks at whether a slice is still wanted."""

RUNTIME = Runtime(BackendName.OPENVINO)

ENCODER: dict[Precision, dict[str, object]] = {
    Precision.BF16: {"INFERENCE_PRECISION_HINT": "bf16"},
    Precision.F16: {"INFERENCE_PRECISION_HINT": "f16"},
    Precision.FAST: {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 32},
}
"""Options of the encoder besides those of float32. OpenVINO's quantization of inputs
has groups of 32 values or none: others were not faster than float32."""

log = logging.getLogger(__name__)


class OpenVINOBackend:
    """Runs the converted graphs, quantized ones in int8; the decoder on the CPU.

    OpenVINO would choose bf16 by itself on processors that have it; float32
    is asked for unless the user asks for less, so that every machine gives the same
    masks.
    """

    def __init__(self, source: ModelSource, runtime: Runtime = RUNTIME) -> None:
        self.config = source.config
        graphs = converted(source)
        core = openvino_core()
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Compressed weights would have activations quantized on the fly.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "CACHE_DIR": str(graphs.compiled()),
        }
        if runtime.threads:
            options["INFERENCE_NUM_THREADS"] = runtime.threads
        int8 = source.arithmetic is Arithmetic.INT8
        if int8 and would_overflow(graphs.files):
            int8 = False
            log.warning(
                "8-bit weights overflow in this processor's 8-bit kernels: '%s' "
                "computes with its integers in float32.",
                source.name,
            )
            options |= IN_FLOAT
            options["CACHE_DIR"] = str(graphs.compiled("float"))
        runtime.check_device(self.devices_here())
        runtime.check_float(self.floats(runtime.device))
        lower: dict[str, object] = {}
        if runtime.precision in ENCODER:
            folder = graphs.compiled(runtime.precision)
            lower = ENCODER[runtime.precision] | {"CACHE_DIR": str(folder)}

        def compiled(path: Path, **others: object) -> "openvino.CompiledModel":
            return core.compile_model(path, "CPU", options | others)

        device = Device.CPU if runtime.device is Device.AUTO else runtime.device
        precision = runtime.precision if lower else Precision.FP32
        self._source, self._compiled = source, compiled
        self._points_decoder: openvino.CompiledModel | None = None
        if device is Device.CPU:
            self._encoder = compiled(graphs.encoder, **lower)
        else:
            # Options of the CPU's threads and packed weights are not theirs.
            if device is Device.NPU:  # it has no other floats
                lower, precision = ENCODER[Precision.F16], Precision.F16
            shared = ("INFERENCE_PRECISION_HINT", "PERFORMANCE_HINT")
            others = {name: options[name] for name in shared} | lower
            others["CACHE_DIR"] = str(graphs.compiled(device, precision))
            self._encoder = core.compile_model(graphs.encoder, device.upper(), others)
        self._decoder = compiled(graphs.decoder)
        self._prepared: PreparedSlices[openvino.InferRequest] | None = None
        if graphs.slice_half is not None:
            self._slice_half = compiled(graphs.slice_half)
            self._prepared = PreparedSlices()
        self._request: openvino.InferRequest | None = None
        self._ranks = [len(i.get_partial_shape()) for i in self._decoder.inputs]
        # Told by what was compiled, not by what the file promises.
        int8 = int8 and any_int8((self._encoder, self._decoder))
        self.info = info_of(
            source,
            BackendName.OPENVINO,
            device,
            Precision.INT8 if int8 else precision,
            sum(_constants(path) for path in graphs.files),
        )

    @staticmethod
    def devices_here() -> tuple[Device, ...]:
        """Return the devices that OpenVINO finds; of several of a kind the first."""
        kinds = {name.partition(".")[0] for name in openvino_core().available_devices}
        known = BackendName.OPENVINO.entry.devices
        return tuple(device for device in known if device.upper() in kinds)

    @staticmethod
    def floats(device: Device) -> tuple[Precision, ...]:
        """Return the floats that a device has instructions for."""
        name = "CPU" if device is Device.AUTO else device.upper()
        has = openvino_core().get_property(name, "OPTIMIZATION_CAPABILITIES")
        known = {"FP32": Precision.FP32, "BF16": Precision.BF16, "FP16": Precision.F16}
        return tuple(precision for name, precision in known.items() if name in has)

    def encode(self, model_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode one slice; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        image = np.ascontiguousarray(model_input[None], np.float32)
        if self._request is None:
            self._request = self._encoder.create_infer_request()
        request = self._request
        request.start_async([image])
        try:
            while not request.wait_for(POLL_MILLISECONDS):
                check_cancelled()
        except BaseException:
            request.cancel()
            with suppress(RuntimeError):  # which tells that it was cancelled
                request.wait()
            raise
        # Copied, because the request's output buffer is used again.
        return request.get_output_tensor().data.copy()

    def decode(
        self,
        image_embedding: NDArray[np.float32],
        boxes: NDArray[np.float32],
        points: Points | None = None,
    ) -> NDArray[np.float32]:
        """Decode boxes; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        prompts = [
            np.ascontiguousarray(p, np.float32) for p in (boxes, *(points or ()))
        ]
        decoder = self._decoder
        if points is not None:
            # A graph of its own, converted when the first point is set.
            if self._points_decoder is None:
                self._points_decoder = self._compiled(points_decoder(self._source))
            decoder = self._points_decoder
        if self._prepared is not None:
            request = self._prepared.of(image_embedding, self._prepare)
            given = [
                request.get_output_tensor(i)
                for i in range(len(self._slice_half.outputs))
            ]
            return as_logits(decoder([*prompts, *given])[0], boxes)
        if points is not None:
            return as_logits(decoder([image_embedding, *prompts])[0], boxes)
        inputs = decoder_inputs(self._ranks, image_embedding, prompts[0])
        return as_logits(decoder(inputs)[0], boxes)

    def _prepare(self, embedding: NDArray[np.float32]) -> "openvino.InferRequest":
        """Return a request of its own: its outputs are kept with it."""
        request = self._slice_half.create_infer_request()
        request.infer([np.ascontiguousarray(embedding, np.float32)])
        return request


def _constants(graph: Path) -> int:
    """Bytes of a graph's constants."""
    return (
        (graph.with_suffix(".bin") if graph.suffix == ".xml" else graph).stat().st_size
    )
