"""Is a device right? Before it is trusted its masks are held against the CPU's.

NPUs and drivers are known to compute window attention wrong without an error. The
answer is kept for machine, model and software.
"""

import json
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from napari_qmedsam import disk
from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.errors import UnsupportedBackend
from napari_qmedsam.provenance import provenance
from napari_qmedsam.runtime.cache import cache_folder, cache_key
from napari_qmedsam.runtime.protocol import Backend
from napari_qmedsam.runtime.registry import Device, Runtime
from napari_qmedsam.runtime.trials import LEAST_DSC, slices_for, try_out

EXACT = (Precision.FP32, Precision.INT8)
"""Precisions that are compared as they are; others by their device in fp32, since
their own masks may differ for a reason of their own."""


def check_device(
    backend: Backend,
    source: ModelSource,
    runtime: Runtime,
    make: Callable[[ModelSource, Runtime], Backend],
) -> None:
    """Compare a model on a device with itself on the CPU, the first time.

    Parameters
    ----------
    backend : Backend
        The model as it was loaded; on the CPU there is nothing to check.
    source : ModelSource
    runtime : Runtime
    make : callable
        Loads a model on a runtime, unchecked.

    Raises
    ------
    Cancelled
        If the work is not wanted any more; nothing is kept then.
    UnsupportedBackend
        If its masks are others.
    """
    device = backend.info.device
    if device == Device.CPU:
        return
    if runtime.precision not in EXACT:
        runtime = replace(runtime, precision=Precision.FP32)
        backend = make(source, runtime)
    kept = _place(backend)
    agreement = _read(kept)
    if agreement is None:
        slices = slices_for(source.config)
        on_cpu = make(source, replace(runtime, device=Device.CPU))
        agreement = try_out(backend, slices).agreement(try_out(on_cpu, slices))
        kept.parent.mkdir(parents=True, exist_ok=True)
        disk.write_text(kept, json.dumps({"device": device, "agreement": agreement}))
    if agreement < LEAST_DSC:
        raise UnsupportedBackend(
            f"The device '{device}' gives other masks of '{source.name}' than the CPU: "
            f"their DSC is {agreement:.3f} on three phantom slices, and {LEAST_DSC} is "
            f"the least. Use the device cpu. After a new driver delete '{kept}'."
        )


def _place(backend: Backend) -> Path:
    versions = provenance()["versions"]
    key = cache_key(platform.node(), backend.info.key, versions)
    return cache_folder() / "devices" / f"{key}.json"


def _read(path: Path) -> float | None:
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["agreement"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
