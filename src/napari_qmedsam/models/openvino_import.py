"""OpenVINO without its telemetry."""

import sys
from types import ModuleType


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
