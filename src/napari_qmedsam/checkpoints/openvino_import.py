"""OpenVINO without its telemetry, and its one core."""

import sys
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino


def import_openvino() -> ModuleType:
    """Import OpenVINO with its telemetry left out.

    It would report to a web service each time it is imported, which a tool
    for medical images must not do, and which stalls without a network.
    OpenVINO falls back to a stub where the telemetry package is missing; it
    is made to look so for the time of the import.
    """
    name = "openvino_telemetry"
    if "openvino" not in sys.modules and name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            del sys.modules[name]
    import openvino

    return openvino


@cache
def openvino_core() -> "openvino.Core":
    """Return the process's one core, which is never given up.

    On Linux each core's CPU plugin has signals handled on a stack of its own,
    and puts the stack before it back when it goes. Where two cores go in the
    order they came in, the later one puts back a stack that is gone already,
    and the next Ctrl-C is a segmentation fault (seen with OpenVINO 2026.4).
    """
    return import_openvino().Core()
