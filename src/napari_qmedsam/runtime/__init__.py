"""Runtimes behind one small protocol: load a model, encode, decode.

Each name loads what it needs when it is first used; torch and OpenVINO are imported
when a model is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_qmedsam.checkpoints.arithmetic import Precision
    from napari_qmedsam.runtime.loading import find_model, load, load_backend, settle
    from napari_qmedsam.runtime.protocol import Backend, RuntimeInfo
    from napari_qmedsam.runtime.registry import BackendName, Device, Runtime

_HOMES = {
    "Backend": "runtime.protocol",
    "BackendName": "runtime.registry",
    "Device": "runtime.registry",
    "Precision": "checkpoints.arithmetic",
    "Runtime": "runtime.registry",
    "RuntimeInfo": "runtime.protocol",
    "find_model": "runtime.loading",
    "load": "runtime.loading",
    "load_backend": "runtime.loading",
    "settle": "runtime.loading",
}
"""The public names, and the modules they live in."""

__all__ = [
    "Backend",
    "BackendName",
    "Device",
    "Precision",
    "Runtime",
    "RuntimeInfo",
    "find_model",
    "load",
    "load_backend",
    "settle",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"napari_qmedsam.{_HOMES[name]}"), name)
