"""The default runtime on CPUs: OpenVINO."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.models.checkpoints import ModelSource
from napari_qmedsam.runtime.conversion import (
    converted,
    import_openvino,
    points_decoder,
)
from napari_qmedsam.runtime.protocol import BackendName, Points, info_of

if TYPE_CHECKING:
    import openvino


class OpenVINOBackend:
    """Runs the converted graphs on the CPU in float32.

    OpenVINO would choose bf16 by itself on processors that have it; float32
    is asked for, so that every machine gives the same masks.
    """

    def __init__(self, source: ModelSource, threads: int = 0) -> None:
        self.config = source.config
        graphs = converted(source)
        core = import_openvino().Core()
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Compressed weights would have activations quantized on the fly.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "CACHE_DIR": str(graphs.compiled),
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads

        def compiled(path: Path) -> "openvino.CompiledModel":
            return core.compile_model(path, "CPU", options)

        self._source, self._compiled = source, compiled
        self._points_decoder: openvino.CompiledModel | None = None
        self._encoder = compiled(graphs.encoder)
        self._decoder = compiled(graphs.decoder)
        held = sum(
            graph.with_suffix(".bin").stat().st_size
            for graph in (graphs.encoder, graphs.decoder)
        )
        self.info = info_of(source, BackendName.OPENVINO, "CPU", held)

    def encode(self, model_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode one slice; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        image = np.ascontiguousarray(model_input[None], np.float32)
        # Copied, because the request's output buffer is used again.
        return self._encoder([image])[0].copy()

    def decode(
        self,
        image_embedding: NDArray[np.float32],
        boxes: NDArray[np.float32],
        points: Points | None = None,
    ) -> NDArray[np.float32]:
        """Decode boxes; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        inputs = [image_embedding, np.ascontiguousarray(boxes, np.float32)]
        decoder = self._decoder
        if points is not None:
            # A graph of its own, converted when the first point is set.
            if self._points_decoder is None:
                self._points_decoder = self._compiled(points_decoder(self._source))
            decoder = self._points_decoder
            inputs += [np.ascontiguousarray(part, np.float32) for part in points]
        return decoder(inputs)[0].copy()
