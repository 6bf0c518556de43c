"""Runtimes behind one small protocol: load a model, encode, decode.

torch and OpenVINO are imported by :func:`load_backend`, not before.
"""

import os
from collections.abc import Callable

from napari_qmedsam.checkpoints.arithmetic import Arithmetic, Precision
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.errors import UnsupportedBackend
from napari_qmedsam.runtime.protocol import (
    Backend,
    BackendName,
    RuntimeInfo,
)

__all__ = ["Backend", "BackendName", "Precision", "RuntimeInfo", "load_backend"]


def load_backend(
    model: str = "demo",
    backend: str = "openvino",
    *,
    weights: str | os.PathLike | None = None,
    precision: str = "fp32",
    threads: int = 0,
    progress: Callable[[int, int | None], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> Backend:
    """Load a model on a runtime.

    Parameters
    ----------
    model : str
        A name (``demo``, ``lite_medsam``, ``medsam_vit_b``), a weights file, or
        a folder with exported graphs.
    backend : str
        ``openvino``, ``onnxruntime`` or ``torch``.
    weights : path, optional
        Weights file for a named model.
    precision : str
        ``fp32``, or ``int8`` for models that were quantized to it; of a named
        model the quantized sibling is taken. A quantized model runs in int8
        whatever is asked for.
    threads : int
        CPU threads; 0 leaves it to the runtime.
    progress, should_cancel : callable, optional
        For the download of official weights; see
        :func:`~napari_qmedsam.checkpoints.download.fetch`.

    Raises
    ------
    UnsupportedBackend
        If backend or precision are unknown, or cannot be had for this model.
    MissingDependency
        If the backend is not installed.
    UnknownModel, BadCheckpoint, DownloadFailed
        If the model cannot be had.
    """
    if backend not in [b.value for b in BackendName]:
        known = ", ".join(b.value for b in BackendName)
        raise UnsupportedBackend(f"No backend is called '{backend}'. Known: {known}.")
    if precision not in [p.value for p in Precision]:
        known = ", ".join(p.value for p in Precision)
        raise UnsupportedBackend(
            f"No precision is called '{precision}'. Known: {known}."
        )
    source = resolve_model(
        model,
        weights,
        Precision(precision),
        progress=progress,
        should_cancel=should_cancel,
    )
    if precision == Precision.INT8 and source.arithmetic is not Arithmetic.INT8:
        raise UnsupportedBackend(
            f"'{model}' is a float model: it has no int8 form. Quantize it with "
            "`qmedsam quantize --method nncf-int8` or train it with `qmedsam train "
            "qat`, and load the result."
        )
    if backend == BackendName.ONNXRUNTIME:
        from napari_qmedsam.runtime.onnx_backend import ONNXRuntimeBackend

        return ONNXRuntimeBackend(source, threads)
    if backend == BackendName.OPENVINO:
        from napari_qmedsam.runtime.openvino_backend import OpenVINOBackend

        return OpenVINOBackend(source, threads)
    import torch

    from napari_qmedsam.runtime.torch_backend import TorchBackend

    if threads:
        torch.set_num_threads(threads)
    return TorchBackend(source)
