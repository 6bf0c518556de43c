"""Torch model to OpenVINO graphs, once, kept on disk.

A pair of graphs, encoder and decoder, lies under the user's cache folder in a
folder named by everything that decides them: weights checksum, configuration,
OpenVINO version and the version of this code.
"""

import hashlib
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from napari_qmedsam.models.checkpoints import ModelSource
from napari_qmedsam.runtime.compressed_weights import compress_weights

if TYPE_CHECKING:
    import openvino

    from napari_qmedsam.models.medsam import MedSAM
    from napari_qmedsam.models.quantized.tensor import QuantizedTensor

log = logging.getLogger(__name__)

CONVERSION_VERSION = 1
"""Raise it when the conversion changes, so that old graphs are not reused."""


@dataclass(frozen=True)
class ConvertedModel:
    """Paths of the two graphs, and a folder for OpenVINO's own cache."""

    encoder: Path
    decoder: Path
    compiled: Path


def cache_folder() -> Path:
    """Folder for what can be made again; QMEDSAM_CACHE overrides it."""
    override = os.environ.get("QMEDSAM_CACHE")
    if override:
        return Path(override).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("napari-qmedsam", appauthor=False))


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


def converted(source: ModelSource) -> ConvertedModel:
    """Return the graphs of a model, converting them the first time.

    Two processes may convert at once: each works in a folder of its own and
    the rename at the end decides.
    """
    folder = _folder(source)
    if not (folder / "decoder.bin").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
        try:
            _convert(source, work)
            try:
                work.rename(folder)
            except OSError:  # another process was first, or an old half is there
                if not (folder / "decoder.bin").exists():
                    shutil.rmtree(folder, ignore_errors=True)
                    work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return ConvertedModel(
        folder / "encoder.xml", folder / "decoder.xml", folder / "compiled"
    )


def is_converted(source: ModelSource) -> bool:
    """Whether the graphs of a model are on disk already."""
    return (_folder(source) / "decoder.bin").exists()


def points_decoder(source: ModelSource) -> Path:
    """Return the decoder of boxes and points, converting it the first time.

    It is a file of its own beside the other two graphs: most users set no
    point, and boxes alone run faster without it.
    """
    folder = _folder(source)
    path = folder / "decoder_points.xml"
    if not path.with_suffix(".bin").exists():
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder, prefix=".converting-"))
        try:
            _convert_points_decoder(source, work / path.name)
            # The .bin last: it says that both are there.
            (work / path.name).replace(path)
            (work / path.with_suffix(".bin").name).replace(path.with_suffix(".bin"))
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return path


def _folder(source: ModelSource) -> Path:
    openvino = import_openvino()
    key = "\n".join(
        [source.sha256, repr(source.config), openvino.__version__]
        + [str(CONVERSION_VERSION)]
    )
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / "openvino" / f"{source.config.name}-{digest}"


def _convert(source: ModelSource, folder: Path) -> None:
    import torch

    openvino = import_openvino()
    log.info("Converting %s to OpenVINO", source.config.name)
    config, model = source.config, source.build()
    size = config.input_size
    image = torch.from_numpy(
        np.random.default_rng(0).random((1, 3, size, size), np.float32)
    )
    with torch.inference_mode(), warnings.catch_warnings():
        # Traced here: OpenVINO's own call checks the trace by running the model
        # several times, which takes longer than everything else together. The
        # branches the tracer warns of depend on the configuration alone.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        # torch would rather have torch.export, but this is what OpenVINO takes.
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(model.image_encoder, image, check_trace=False)
        encoder = openvino.convert_model(
            traced, example_input=image, input=[tuple(image.shape)]
        )
    decoder = _decoder_graph(source, model, with_points=False)
    weights = source.quantized()
    if weights:
        names = {
            f"self.{name.removeprefix('image_encoder.')}.weight": w
            for name, w in weights.items()
            if name.startswith("image_encoder.")
        }
        _compress(encoder, names)
    openvino.save_model(encoder, folder / "encoder.xml", compress_to_fp16=False)
    openvino.save_model(decoder, folder / "decoder.xml", compress_to_fp16=False)


def _convert_points_decoder(source: ModelSource, path: Path) -> None:
    log.info("Converting the point decoder of %s to OpenVINO", source.config.name)
    graph = _decoder_graph(source, source.build(), with_points=True)
    import_openvino().save_model(graph, path, compress_to_fp16=False)


def _decoder_graph(
    source: ModelSource, model: "MedSAM", with_points: bool
) -> "openvino.Model":
    """Prompt encoder and mask decoder as one graph, quantized weights compressed."""
    import torch
    from torch import Tensor, nn

    class Decoder(nn.Module):
        def __init__(self, model: "MedSAM") -> None:
            super().__init__()
            self.model = model

        def forward(
            self,
            image_embedding: Tensor,
            boxes: Tensor,
            positions: Tensor | None = None,
            labels: Tensor | None = None,
        ) -> Tensor:
            points = None
            if positions is not None and labels is not None:
                points = positions, labels
            return self.model.decode(image_embedding, boxes, points)[0][:, 0]

    config = source.config
    size = config.input_size
    embedding = torch.zeros(
        1, config.embedding_channels, config.embedding_size, config.embedding_size
    )
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.6], [0.3, 0.3, 0.9, 0.8]]) * size
    example: tuple[Tensor, ...] = (embedding, boxes)
    shapes: list[tuple[int, ...]] = [tuple(embedding.shape), (-1, 4)]
    if with_points:
        positions = torch.tensor([0.3, 0.4]).expand(2, 3, 2) * size
        example += positions, torch.tensor([[1.0, 0.0, 1.0]]).expand(2, 3)
        shapes += [(-1, -1, 2), (-1, -1)]
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(Decoder(model).eval(), example, check_trace=False)
        graph = import_openvino().convert_model(
            traced, example_input=example, input=shapes
        )
    weights = source.quantized()
    if weights:
        names = {f"self.model.{name}.weight": w for name, w in weights.items()}
        _compress(graph, names)
    return graph


def _compress(
    graph: "openvino.Model", weights: "Mapping[str, QuantizedTensor]"
) -> None:
    report = compress_weights(graph, weights)
    log.info(
        "%d weights run compressed, %d unpacked",
        len(report.compressed),
        len(report.unpacked),
    )
