"""A model and a runtime to something that runs: for shell, Python and window."""

import logging
import os
from collections.abc import Callable

from napari_qmedsam.checkpoints.arithmetic import Arithmetic, Precision
from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.checkpoints.default_model import AUTO
from napari_qmedsam.checkpoints.resolve import int8_name, resolve_model
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.errors import UnsupportedBackend
from napari_qmedsam.runtime.protocol import Backend
from napari_qmedsam.runtime.registry import Runtime

log = logging.getLogger(__name__)

DEFAULT = Runtime()
"""OpenVINO, in the arithmetic of the model's file."""


def load_backend(
    model: str = AUTO,
    backend: str = DEFAULT.backend,
    *,
    weights: str | os.PathLike | None = None,
    precision: str = DEFAULT.precision,
    device: str = DEFAULT.device,
    threads: int = DEFAULT.threads,
    progress: Callable[[int, int | None], None] | None = None,
) -> Backend:
    """Load a model on a runtime.

    Parameters
    ----------
    model : str
        ``auto``, the best model on this machine, another name (``demo``,
        ``lite_medsam``, ``medsam_vit_b``), a weights file, or a folder with
        exported graphs.
    backend : str
        ``openvino``, ``onnxruntime`` or ``torch``.
    weights : path, optional
        Weights file for a named model.
    precision : str
        ``fp32``, or ``int8`` for a model's int8 form: itself, the sibling of a
        named model that was trained for it, or on OpenVINO graphs that NNCF makes
        of it, once. A quantized model runs in int8 whatever is asked for.
    device : str
        ``auto``, ``cpu``, or ``cuda`` in torch. auto takes a GPU where there is one.
    threads : int
        CPU threads; 0 leaves it to the runtime.
    progress : callable, optional
        For the download of official weights; see
        :func:`~napari_qmedsam.checkpoints.download.fetch`.

    Raises
    ------
    UnsupportedBackend
        If backend, device or precision are unknown, or cannot be had for this model.
    MissingDependency
        If the backend is not installed, or NNCF is needed and is not.
    UnknownModel, BadCheckpoint, DownloadFailed
        If the model cannot be had.
    """
    runtime = Runtime.parse(backend, precision, device, threads)
    source = find_model(model, runtime, weights, progress=progress)
    return load(source, runtime)


def find_model(
    model: str,
    runtime: Runtime = DEFAULT,
    weights: str | os.PathLike | None = None,
    *,
    progress: Callable[[int, int | None], None] | None = None,
    notify: Callable[[str], None] = log.info,
) -> ModelSource:
    """Find the model that runs where this one is asked for on a runtime.

    Parameters
    ----------
    model : str
    runtime : Runtime
    weights : path, optional
    progress : callable, optional
        As for :func:`load_backend`.
    notify : callable
        Called with a sentence before work that takes a minute.

    Returns
    -------
    ModelSource
        Of int8 where that is asked for.

    Raises
    ------
    Cancelled
        If the work is not wanted any more.
    QMedSAMError
        As for :func:`load_backend`.
    """
    source = resolve_model(
        model,
        weights,
        runtime.precision,
        progress=progress,
    )
    if runtime.precision is Precision.FP32 or source.arithmetic is Arithmetic.INT8:
        return source
    if source.arithmetic is Arithmetic.PACKED:
        raise UnsupportedBackend(
            f"'{source.name}' is quantized already, its weights alone: it has no int8 "
            "form. Start from the float model."
        )
    if not runtime.backend.entry.runs_openvino_graphs:
        raise UnsupportedBackend(
            f"'{source.name}' is a float model: it has no int8 form on "
            f"{runtime.backend}. Train one with `qmedsam train qat`, or run it on "
            "openvino, for which NNCF can make one (`qmedsam quantize --method "
            "nncf-int8`)."
        )
    from napari_qmedsam.runtime.nncf_subprocess import int8_source

    notify(f"'{source.name}' has no trained int8 form; NNCF makes one, once.")
    return int8_source(source)


def load(source: ModelSource, runtime: Runtime = DEFAULT) -> Backend:
    """Load a model that was found with :func:`find_model`.

    Raises
    ------
    UnsupportedBackend
        If the runtime does not take the model.
    MissingDependency
        If the runtime is not installed.
    BadCheckpoint
        If the model's file is damaged.
    """
    return runtime.backend.entry.make(source, runtime)


def precisions(model: str, runtime: Runtime) -> tuple[Precision, ...]:
    """Return what a model can be asked for on a runtime, before it is loaded.

    Of files FP32 means the arithmetic that the file has.
    """
    if model in {entry.int8 for entry in CATALOGUE.values()}:
        return (Precision.INT8,)
    has_int8 = int8_name(model) != model
    if not has_int8 and runtime.backend.entry.runs_openvino_graphs:
        from napari_qmedsam.runtime.nncf_subprocess import is_installed

        has_int8 = is_installed()
    return (Precision.FP32, Precision.INT8) if has_int8 else (Precision.FP32,)
