"""ONNX, or what to install for it."""

from types import ModuleType

from napari_qmedsam.errors import MissingDependency


def import_onnx() -> ModuleType:
    """Import the onnx package.

    Raises
    ------
    MissingDependency
        If it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing_onnx("onnx") from error
    return onnx


def missing_onnx(package: str) -> MissingDependency:
    """Return the error that says how to install what ONNX needs."""
    return MissingDependency(
        f"ONNX graphs need the package {package}: pip install napari-qmedsam[onnx]"
    )
