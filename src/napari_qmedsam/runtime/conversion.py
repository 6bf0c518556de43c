"""Torch model to OpenVINO graphs, once, kept on disk.

A pair of graphs, encoder and decoder, lies under the user's cache folder in a
folder named by everything that decides them: weights checksum, configuration,
OpenVINO version and the version of this code.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_qmedsam.checkpoints.openvino_import import import_openvino
from napari_qmedsam.checkpoints.source import LoadedModel, ModelSource
from napari_qmedsam.disk import atomic_files
from napari_qmedsam.errors import InvalidPrompt
from napari_qmedsam.runtime.cache import cache_folder, cache_key, make_once
from napari_qmedsam.runtime.compressed_weights import compress_weights
from napari_qmedsam.runtime.onnx_cleaning import cleaned_pair

if TYPE_CHECKING:
    import openvino

    from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor
    from napari_qmedsam.models.configuration import ModelConfig

log = logging.getLogger(__name__)

CONVERSION_VERSION = 2
"""Raise it when the conversion changes, so that old graphs are not reused."""


@dataclass(frozen=True)
class ConvertedModel:
    """Paths of the two graphs, and a folder for OpenVINO's own cache."""

    encoder: Path
    decoder: Path
    compiled: Path


def converted(source: ModelSource) -> ConvertedModel:
    """Return the graphs of a model, converting them the first time.

    Exported OpenVINO graphs are taken as they are, ONNX graphs are cleaned; what
    OpenVINO compiles of them goes to the cache.
    """
    folder = _folder(source)
    graphs = source.graphs
    if graphs is not None:
        if graphs.suffixes[0] == ".onnx":
            encoder, decoder = cleaned_pair(graphs)
        else:
            encoder, decoder = graphs.pair(graphs.suffixes[0])
        return ConvertedModel(encoder, decoder, folder / "compiled")
    make_once(folder, "decoder.bin", lambda work: _convert(source, work))
    return ConvertedModel(
        folder / "encoder.xml", folder / "decoder.xml", folder / "compiled"
    )


def is_converted(source: ModelSource) -> bool:
    """Whether the graphs of a model are on disk already."""
    return source.graphs is not None or (_folder(source) / "decoder.bin").exists()


def points_decoder(source: ModelSource) -> Path:
    """Return the decoder of boxes and points, converting it the first time.

    It is a file of its own beside the other two graphs: most users set no
    point, and boxes alone run faster without it.

    Raises
    ------
    InvalidPrompt
        If the model is a pair of graphs that takes boxes only.
    """
    if source.graphs is not None:
        raise InvalidPrompt(
            f"The exported model '{source.name}' takes boxes only, no points."
        )
    folder = _folder(source)
    path = folder / "decoder_points.xml"
    if not path.with_suffix(".bin").exists():
        folder.mkdir(parents=True, exist_ok=True)
        # The .bin last: it says that both are there.
        with atomic_files(folder, last="decoder_points.bin") as work:
            _convert_points_decoder(source, work / path.name)
    return path


def _folder(source: ModelSource) -> Path:
    version = import_openvino().__version__
    key = cache_key(source.sha256, repr(source.config), version, CONVERSION_VERSION)
    return cache_folder() / "openvino" / f"{source.config.name}-{key}"


def _convert(source: ModelSource, folder: Path) -> None:
    from napari_qmedsam.runtime import tracing

    openvino = import_openvino()
    log.info("Converting %s to OpenVINO", source.config.name)
    loaded = _traceable(source)
    image = tracing.example_image(source.config)
    with tracing.quiet_tracing():
        encoder = openvino.convert_model(
            tracing.trace(loaded.model.image_encoder, (image,)),
            example_input=image,
            input=[tuple(image.shape)],
        )
    decoder = _decoder_graph(loaded, source.config, with_points=False)
    names = {
        f"self.{name.removeprefix('image_encoder.')}.weight": weight
        for name, weight in loaded.packed.items()
        if name.startswith("image_encoder.")
    }
    if names:
        _compress(encoder, names)
    openvino.save_model(encoder, folder / "encoder.xml", compress_to_fp16=False)
    openvino.save_model(decoder, folder / "decoder.xml", compress_to_fp16=False)


def _convert_points_decoder(source: ModelSource, path: Path) -> None:
    log.info("Converting the point decoder of %s to OpenVINO", source.config.name)
    graph = _decoder_graph(_traceable(source), source.config, with_points=True)
    import_openvino().save_model(graph, path, compress_to_fp16=False)


def _traceable(source: ModelSource) -> LoadedModel:
    from napari_qmedsam.runtime.tracing import traceable

    model, packed = source.load()
    return LoadedModel(traceable(model), packed)


def _decoder_graph(
    loaded: LoadedModel, config: "ModelConfig", with_points: bool
) -> "openvino.Model":
    """Prompt encoder and mask decoder as one graph, quantized weights compressed."""
    from napari_qmedsam.runtime import tracing

    example = tracing.example_prompts(config, with_points)
    shapes: list[tuple[int, ...]] = [tuple(example[0].shape), (-1, 4)]
    if with_points:
        shapes += [(-1, -1, 2), (-1, -1)]
    with tracing.quiet_tracing():
        traced = tracing.trace(tracing.Decoder(loaded.model), example)
        graph = import_openvino().convert_model(
            traced, example_input=example, input=shapes
        )
    if loaded.packed:
        names = {f"self.model.{n}.weight": w for n, w in loaded.packed.items()}
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
