"""Runtimes behind one small protocol: load a model, encode, decode.

torch and OpenVINO are imported when a model is loaded, not before.
"""

from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.runtime.loading import find_model, load, load_backend
from napari_qmedsam.runtime.protocol import Backend, RuntimeInfo
from napari_qmedsam.runtime.registry import BackendName, Device, Runtime

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
]
