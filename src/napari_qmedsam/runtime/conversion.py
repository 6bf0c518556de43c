"""Torch model to OpenVINO graphs, once, kept on disk.

The graphs, encoder and decoder, lie under the user's cache folder in a folder named
by everything that decides them: weights checksum, configuration, OpenVINO version
and the version of this code. The decoder of a model that rounds no activations is
two graphs (:mod:`~napari_qmedsam.models.split_decoder`).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_qmedsam.checkpoints.arithmetic import Arithmetic
from napari_qmedsam.checkpoints.openvino_import import import_openvino
from napari_qmedsam.checkpoints.source import LoadedModel, ModelSource
from napari_qmedsam.disk import atomic_files
from napari_qmedsam.errors import InvalidPrompt
from napari_qmedsam.runtime.cache import cache_folder, cache_key, make_once
from napari_qmedsam.runtime.compressed_weights import compress_weights
from napari_qmedsam.runtime.onnx_cleaning import cleaned_pair

if TYPE_CHECKING:
    import openvino
    from torch import Tensor, nn

    from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor

log = logging.getLogger(__name__)

CONVERSION_VERSION = 4
"""Raise it when the conversion changes, so that old graphs are not reused."""

SLICE_HALF = "decoder_slice.xml"
"""File of the half of the decoder that runs once per slice."""


@dataclass(frozen=True)
class ConvertedModel:
    """Paths of the graphs, and where OpenVINO keeps what it compiles of them.

    Parameters
    ----------
    encoder, decoder : Path
    folder : Path
    slice_half : Path or None
        What stands between the two and runs once per slice; None if the decoder
        takes embeddings themselves.
    """

    encoder: Path
    decoder: Path
    folder: Path
    slice_half: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every graph, in the order in which they run."""
        middle = () if self.slice_half is None else (self.slice_half,)
        return self.encoder, *middle, self.decoder

    def compiled(self, *form: str) -> Path:
        """Return the folder of OpenVINO's cache for a form that the graphs run in.

        Its own names would not tell a device, a precision or integers in float apart.
        """
        return self.folder / "-".join(("compiled", *form))


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
        return ConvertedModel(encoder, decoder, folder)
    make_once(folder, "decoder.bin", lambda work: _convert(source, work))
    return ConvertedModel(
        folder / "encoder.xml",
        folder / "decoder.xml",
        folder,
        folder / SLICE_HALF if is_split(source) else None,
    )


def is_split(source: ModelSource) -> bool:
    """Whether the decoder of a model runs as two graphs."""
    return source.graphs is None and source.arithmetic is not Arithmetic.INT8


def is_converted(source: ModelSource) -> bool:
    """Whether the graphs of a model are on disk already."""
    return source.graphs is not None or (_folder(source) / "decoder.bin").exists()


def whole_graphs(source: ModelSource) -> tuple[Path, Path]:
    """Return encoder and decoder as one graph each, converting them the first time.

    For other programs and for NNCF, which know no halves.
    """
    graphs = converted(source)
    if graphs.slice_half is None:
        return graphs.encoder, graphs.decoder
    return graphs.encoder, _once(source, "whole_decoder", _decoder_graph)


def points_decoder(source: ModelSource) -> Path:
    """Return the decoder of boxes and points, converting it the first time.

    It is a file of its own beside the other graphs: most users set no point, and
    boxes alone run faster without it. Where the decoder is split, it is its second
    half.

    Raises
    ------
    InvalidPrompt
        If the model is a pair of graphs that takes boxes only.
    """
    if source.graphs is not None:
        raise InvalidPrompt(
            f"The exported model '{source.name}' takes boxes only, no points."
        )
    make = _prompt_half if is_split(source) else _decoder_graph
    return _once(source, "decoder_points", partial(make, with_points=True))


def _once(
    source: ModelSource,
    name: str,
    make: "Callable[[LoadedModel, ModelSource], openvino.Model]",
) -> Path:
    """Return a graph beside those that every model has, making it the first time."""
    folder = _folder(source)
    path = folder / f"{name}.xml"
    if not path.with_suffix(".bin").exists():
        log.info("Converting %s of %s to OpenVINO", name, source.config.name)
        folder.mkdir(parents=True, exist_ok=True)
        graph = make(_traceable(source), source)
        # The .bin last: it says that both are there.
        with atomic_files(folder, last=f"{name}.bin") as work:
            import_openvino().save_model(
                graph, work / path.name, compress_to_fp16=False
            )
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
    names = {
        f"self.{name.removeprefix('image_encoder.')}.weight": weight
        for name, weight in loaded.packed.items()
        if name.startswith("image_encoder.")
    }
    if names:
        _compress(encoder, names)
    graphs = {"encoder.xml": encoder}
    if is_split(source):
        graphs[SLICE_HALF] = _slice_half(loaded, source)
        graphs["decoder.xml"] = _prompt_half(loaded, source)
    else:
        graphs["decoder.xml"] = _decoder_graph(loaded, source)
    for name, graph in graphs.items():
        openvino.save_model(graph, folder / name, compress_to_fp16=False)


def _traceable(source: ModelSource) -> LoadedModel:
    from napari_qmedsam.runtime.tracing import traceable

    model, packed = source.load()
    return LoadedModel(traceable(model), packed)


def _decoder_graph(
    loaded: LoadedModel, source: ModelSource, with_points: bool = False
) -> "openvino.Model":
    """Prompt encoder and mask decoder as one graph."""
    from napari_qmedsam.runtime import tracing

    example = tracing.example_prompts(source.config, with_points)
    shapes = [tuple(example[0].shape), *_prompt_shapes(with_points)]
    return _graph(tracing.Decoder(loaded.model), example, shapes, loaded)


def _slice_half(loaded: LoadedModel, source: ModelSource) -> "openvino.Model":
    from napari_qmedsam.models.split_decoder import SliceHalf
    from napari_qmedsam.runtime import tracing

    embedding = tracing.example_prompts(source.config)[0]
    half = SliceHalf(loaded.model)
    return _graph(half, (embedding,), [tuple(embedding.shape)], loaded)


def _prompt_half(
    loaded: LoadedModel, source: ModelSource, with_points: bool = False
) -> "openvino.Model":
    from napari_qmedsam.models.split_decoder import SliceHalf
    from napari_qmedsam.runtime import tracing

    embedding, *prompts = tracing.example_prompts(source.config, with_points)
    with tracing.quiet_tracing():
        prepared = SliceHalf(loaded.model)(embedding)
    shapes = [*_prompt_shapes(with_points), *(tuple(part.shape) for part in prepared)]
    half = tracing.PromptsFirst(loaded.model, len(prompts))
    return _graph(half, (*prompts, *prepared), shapes, loaded)


def _prompt_shapes(with_points: bool) -> list[tuple[int, ...]]:
    return [(-1, 4), (-1, -1, 2), (-1, -1)] if with_points else [(-1, 4)]


def _graph(
    module: "nn.Module",
    example: "tuple[Tensor, ...]",
    shapes: list[tuple[int, ...]],
    loaded: LoadedModel,
) -> "openvino.Model":
    """Convert a module with the model in it as `model`, packed weights compressed."""
    from napari_qmedsam.runtime import tracing

    with tracing.quiet_tracing():
        graph = import_openvino().convert_model(
            tracing.trace(module, example), example_input=example, input=shapes
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
