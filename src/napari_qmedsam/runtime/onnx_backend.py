"""ONNX Runtime on the CPU."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.errors import BadCheckpoint, InvalidPrompt
from napari_qmedsam.runtime.graph_inputs import as_logits, decoder_inputs
from napari_qmedsam.runtime.onnx_conversion import onnx_pair
from napari_qmedsam.runtime.onnx_import import missing_onnx
from napari_qmedsam.runtime.protocol import Points, info_of
from napari_qmedsam.runtime.registry import BackendName, Device, Runtime

if TYPE_CHECKING:
    import onnxruntime

ERRORS_ONLY = 3
"""Log level of ONNX Runtime: its warnings are about its own optimisations."""

EXACT_INTEGERS = ("session.x64quantprecision", "1")
"""Has weights multiplied as unsigned where signed ones overflow without an error:
on x86 processors without VNNI; see :mod:`~napari_qmedsam.runtime.overflow`."""

RUNTIME = Runtime(BackendName.ONNXRUNTIME)


class ONNXRuntimeBackend:
    """Runs ONNX graphs on the CPU, exported elsewhere or made of the model here.

    Raises
    ------
    MissingDependency
        If onnxruntime is not installed.
    BadCheckpoint
        If it cannot load a graph.
    """

    def __init__(self, source: ModelSource, runtime: Runtime = RUNTIME) -> None:
        _import_onnxruntime()  # before the work of a conversion
        self.config = source.config
        encoder, decoder = onnx_pair(source)
        self._encoder = inference_session(encoder, runtime.threads)
        self._decoder = inference_session(decoder, runtime.threads)
        self._names = [i.name for i in self._decoder.get_inputs()]
        self._ranks = [len(i.shape) for i in self._decoder.get_inputs()]
        held = encoder.stat().st_size + decoder.stat().st_size
        self.info = info_of(source, BackendName.ONNXRUNTIME, memory_bytes=held)

    @staticmethod
    def devices_here() -> tuple[Device, ...]:
        """Return the CPU, which is all that is used."""
        return (Device.CPU,)

    @staticmethod
    def floats(device: Device) -> tuple[Precision, ...]:
        """Return float32, which is all that a graph is asked for here."""
        return (Precision.FP32,)

    def encode(self, model_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode one slice; see :class:`~napari_qmedsam.runtime.protocol.Backend`."""
        image = np.ascontiguousarray(model_input[None], np.float32)
        name = self._encoder.get_inputs()[0].name
        return self._encoder.run(None, {name: image})[0]

    def decode(
        self,
        image_embedding: NDArray[np.float32],
        boxes: NDArray[np.float32],
        points: Points | None = None,
    ) -> NDArray[np.float32]:
        """Decode boxes; see :class:`~napari_qmedsam.runtime.protocol.Backend`.

        Raises
        ------
        InvalidPrompt
            If points are given: these graphs take boxes only.
        """
        if points is not None:
            raise InvalidPrompt(
                "Models on ONNX Runtime take boxes only. Use the backend openvino "
                "or torch for points."
            )
        boxes = np.ascontiguousarray(boxes, np.float32)
        inputs = decoder_inputs(self._ranks, image_embedding, boxes)
        feed = dict(zip(self._names, inputs, strict=True))
        return as_logits(self._decoder.run(None, feed)[0], boxes)


def inference_session(path: Path, threads: int = 0) -> "onnxruntime.InferenceSession":
    """Load a graph so that its integers are computed with exactly.

    Raises
    ------
    MissingDependency
        If onnxruntime is not installed.
    BadCheckpoint
        If it cannot load the graph.
    """
    onnxruntime = _import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.add_session_config_entry(*EXACT_INTEGERS)
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # a tree of its own, from C++
        raise BadCheckpoint(
            f"ONNX Runtime cannot load '{path}': "
            f"{str(error).splitlines()[0]} Export it again."
        ) from error


def _import_onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_onnx("onnxruntime") from error
    return onnxruntime
