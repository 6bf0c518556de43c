"""A model and a runtime to something that runs: for shell, Python and window."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from napari_qmedsam.checkpoints.arithmetic import Arithmetic, Precision
from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.checkpoints.default_model import AUTO, resolve_auto
from napari_qmedsam.checkpoints.header import QUANTIZED_KEY, read_card
from napari_qmedsam.checkpoints.resolve import int8_name, resolve_model
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.errors import QMedSAMError, UnsupportedBackend
from napari_qmedsam.runtime.auto_precision import fastest, reason, tried
from napari_qmedsam.runtime.device_check import check_device
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
        ``auto``, the best model (`qmedsam_lite`), another name (``demo``,
        ``lite_medsam``, ``medsam_vit_b``), a weights file, or a folder with
        exported graphs.
    backend : str
        ``openvino``, ``onnxruntime`` or ``torch``.
    weights : path, optional
        Weights file for a named model.
    precision : str
        ``fp32``; ``bf16`` or ``f16`` for the encoder in those; ``fast`` for packed
        weights with inputs rounded to 8 bits; ``int8`` for a model's int8 form:
        itself, the sibling of a named model that was trained for it, or on OpenVINO
        graphs that NNCF makes of it, once. A quantized model runs in int8 whatever
        is asked for. ``auto`` is the fastest here that agrees with ``fp32``.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps`` in torch, ``gpu`` or ``npu`` on OpenVINO.
        auto takes a GPU in torch, and the CPU elsewhere.
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
    runtime = settle(model, runtime, weights, progress=progress)
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
        Settled.
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
    source = resolve_model(model, weights, runtime.precision, progress=progress)
    asked = runtime.precision
    if asked is not Precision.INT8:
        _check(source, asked)
        return source
    if source.arithmetic is Arithmetic.INT8:
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


def settle(
    model: str,
    runtime: Runtime,
    weights: str | os.PathLike | None = None,
    *,
    progress: Callable[[int, int | None], None] | None = None,
    notify: Callable[[str], None] = log.info,
    load_one: "Callable[[ModelSource, Runtime], Backend] | None" = None,
) -> Runtime:
    """Return a runtime whose precision is one to compute with.

    `auto` is measured the first time (:mod:`.auto_precision`).

    Parameters
    ----------
    model : str
    runtime : Runtime
    weights : path, optional
    progress : callable, optional
        As for :func:`load_backend`.
    notify : callable
        Called with what was chosen, and why.
    load_one : callable, optional
        In place of :func:`load`.
    """
    if runtime.precision is not Precision.AUTO:
        return runtime
    plain = replace(runtime, precision=Precision.FP32)
    source = find_model(model, plain, weights, progress=progress)
    forms = dict.fromkeys(_floats(source, plain), source)
    is_float = source.arithmetic is Arithmetic.FLOAT
    if is_float and _int8_is_at_hand(model, weights, source, plain):
        as_int8 = replace(runtime, precision=Precision.INT8)
        forms[Precision.INT8] = find_model(model, as_int8, weights)
    trials = tried(plain, forms, load_one or load, notify)
    best = fastest(trials)
    notify(reason(trials, best))
    return replace(runtime, precision=best.precision)


def _floats(source: ModelSource, runtime: Runtime) -> tuple[Precision, ...]:
    """Return what a model can be computed with on this machine, int8 aside."""
    if source.arithmetic is Arithmetic.INT8:
        return (Precision.FP32,)
    entry = runtime.backend.entry
    found = entry.floats(runtime.device)
    if source.arithmetic is Arithmetic.PACKED and Precision.FAST in entry.precisions:
        found = (*found, Precision.FAST)
    return found


def _int8_is_at_hand(
    model: str, weights: str | os.PathLike | None, source: ModelSource, runtime: Runtime
) -> bool:
    """Whether a float model has an int8 form that need not be made first."""
    name, own = resolve_auto(model, weights)
    if own is None and int8_name(name) != name:
        return True
    if not runtime.backend.entry.runs_openvino_graphs:
        return False
    from napari_qmedsam.runtime.nncf_subprocess import int8_folder

    return int8_folder(source).exists()


def _check(source: ModelSource, precision: Precision) -> None:
    """Refuse a precision that a model does not have.

    Raises
    ------
    UnsupportedBackend
    """
    if precision is Precision.FP32:
        return
    if source.arithmetic is Arithmetic.INT8:
        raise UnsupportedBackend(
            f"'{source.name}' is quantized: it runs in int8, not in {precision}. Leave "
            "the precision at fp32, int8 or auto."
        )
    if precision is Precision.FAST and source.arithmetic is not Arithmetic.PACKED:
        raise UnsupportedBackend(
            f"'{source.name}' has no packed weights, which 'fast' is for. Make some "
            "with `qmedsam quantize`, or choose bf16, int8 or auto."
        )


def load(source: ModelSource, runtime: Runtime = DEFAULT) -> Backend:
    """Load a model that was found with :func:`find_model`.

    Raises
    ------
    UnsupportedBackend
        If the runtime does not take the model, or the device gives other masks than
        the CPU, which is looked at the first time.
    MissingDependency
        If the runtime is not installed.
    BadCheckpoint
        If the model's file is damaged.
    """
    backend = _make(source, runtime)
    check_device(backend, source, runtime, _make)
    return backend


def _make(source: ModelSource, runtime: Runtime) -> Backend:
    return runtime.backend.entry.make(source, runtime)


def precisions(model: str, runtime: Runtime) -> tuple[Precision, ...]:
    """Return what a model can be asked for on a runtime, before it is loaded.

    Of files FP32 means the arithmetic that the file has.
    """
    if model in {entry.int8 for entry in CATALOGUE.values()}:
        return (Precision.INT8,)
    offered = [Precision.FP32]
    takes = runtime.backend.entry.precisions
    offered += [p for p in (Precision.BF16,) if p in takes]
    if Precision.FAST in takes and _is_packed(model):
        offered.append(Precision.FAST)
    has_int8 = int8_name(model) != model
    if not has_int8 and runtime.backend.entry.runs_openvino_graphs:
        from napari_qmedsam.runtime.nncf_subprocess import is_installed

        has_int8 = is_installed()
    if has_int8:
        offered.append(Precision.INT8)
    return (*offered, Precision.AUTO) if len(offered) > 1 else tuple(offered)


def _is_packed(model: str) -> bool:
    """Tell by its card whether a file holds packed weights."""
    with suppress(QMedSAMError, OSError):
        return Path(model).is_file() and QUANTIZED_KEY in read_card(Path(model))
    return False
