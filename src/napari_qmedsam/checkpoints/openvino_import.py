"""OpenVINO and NNCF without their telemetry, and OpenVINO's one core."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino


def import_openvino() -> ModuleType:
    """Import OpenVINO with its telemetry left out.

    It would report to a web service each time it is imported, which a tool
    for medical images must not do, and which stalls without a network.
    """
    with _telemetry_missing():
        import openvino
    return openvino


def import_nncf() -> ModuleType:
    """Import NNCF with its telemetry left out: it would report what is quantized.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    import_openvino()
    with _telemetry_missing():
        import nncf
    return nncf


@contextmanager
def _telemetry_missing() -> Iterator[None]:
    """Let the package that both report with look as if it were not installed.

    Both fall back to a stub of their own then, and keep it.
    """
    name = "openvino_telemetry"
    if name in sys.modules:  # somebody else's import, and choice
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


@cache
def openvino_core() -> "openvino.Core":
    """Return the process's one core, which is never given up.

    On Linux each core's CPU plugin has signals handled on a stack of its own,
    and puts the stack before it back when it goes. Where two cores go in the
    order they came in, the later one puts back a stack that is gone already,
    and the next Ctrl-C is a segmentation fault (seen with OpenVINO 2026.4).
    """
    return import_openvino().Core()
