"""Export of a model as a pair of graphs for other programs, or to load again."""

import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from napari_qmedsam.checkpoints.arithmetic import Arithmetic
from napari_qmedsam.checkpoints.exported import PARTS
from napari_qmedsam.checkpoints.openvino_import import openvino_core
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.disk import atomic_write
from napari_qmedsam.errors import InvalidSettings, UnsupportedQuantization
from napari_qmedsam.runtime.conversion import whole_graphs
from napari_qmedsam.runtime.executed import ExecutedProducts, executed_products
from napari_qmedsam.runtime.onnx_conversion import write_onnx
from napari_qmedsam.runtime.overflow import IN_FLOAT, would_overflow


class ExportFormat(str, Enum):
    """Forms of graphs that can be written."""

    OPENVINO = "openvino"
    """encoder.xml and decoder.xml with their .bin."""

    ONNX = "onnx"
    """encoder.onnx and decoder.onnx, of float and of quantized models."""

    ONNX_QCDQ = "onnx-qcdq"
    """The same, of quantized models only."""


@dataclass(frozen=True)
class Export:
    """What was written, and how it runs here.

    Parameters
    ----------
    files : tuple of Path
    encoder, decoder : ExecutedProducts
        What OpenVINO executes of each graph on this machine, as it is loaded here:
        in float32 where its 8-bit kernels would overflow.
    """

    files: tuple[Path, ...]
    encoder: ExecutedProducts
    decoder: ExecutedProducts

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path in self.files)


def export_model(source: ModelSource, form: ExportFormat, folder: Path) -> Export:
    """Write a model as a pair of graphs.

    Parameters
    ----------
    source : ModelSource
    form : ExportFormat
    folder : Path
        Made if missing. Files of the same names are replaced.

    Raises
    ------
    InvalidSettings
        If the folder cannot be made, or the model is a pair of graphs already.
    UnsupportedQuantization
        If QCDQ is asked of a model that is not quantized.
    MissingDependency
        If ONNX is asked for and onnx is not installed.
    """
    if source.graphs is not None:
        raise InvalidSettings(f"'{source.name}' is exported already.")
    is_int8 = source.arithmetic is Arithmetic.INT8
    if form is ExportFormat.ONNX_QCDQ and not is_int8:
        raise UnsupportedQuantization(
            f"'{source.name}' has no quantized activations, which QCDQ is for. Train "
            "it with `qmedsam train qat`, or export it as onnx."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file has that name" if folder.is_file() else error.strerror
        raise InvalidSettings(
            f"Cannot make the folder '{folder}': {reason}."
        ) from error
    if form is ExportFormat.OPENVINO:
        for part, path in zip(PARTS, whole_graphs(source), strict=True):
            for suffix in (".bin", ".xml"):
                _copy(path.with_suffix(suffix), folder / f"{part}{suffix}")
        names = [f"{part}{end}" for part in PARTS for end in (".xml", ".bin")]
    else:
        write_onnx(source, folder)
        names = [f"{part}.onnx" for part in PARTS]
    graph = names[0].removeprefix("encoder")
    core = openvino_core()
    paths = [folder / f"{part}{graph}" for part in PARTS]
    options: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32"}
    if is_int8 and would_overflow(paths):
        options |= IN_FLOAT
    encoder, decoder = (
        executed_products(core.compile_model(path, "CPU", options)) for path in paths
    )
    return Export(tuple(folder / name for name in names), encoder, decoder)


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as part:
        shutil.copyfile(source, part)
