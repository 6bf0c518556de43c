"""What made a result: versions and machine, with no name of a person, host or file."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import napari_qmedsam

LIBRARIES = ("numpy", "scipy", "openvino", "torch", "onnxruntime")
"""Libraries whose versions may decide a voxel."""


def provenance() -> dict[str, Any]:
    """Return versions and machine as plain data.

    Nothing in it tells who ran it, on which host or for whom.
    """
    return {
        "versions": {
            "napari-qmedsam": napari_qmedsam.__version__,
            "python": platform.python_version(),
            **{name: found for name in LIBRARIES if (found := _version(name))},
        },
        "machine": {
            "system": platform.system(),
            "processor": _processor(),
            "cores": os.cpu_count() or 0,
        },
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """Return the model of the processor, which Linux says in a file of its own."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()
