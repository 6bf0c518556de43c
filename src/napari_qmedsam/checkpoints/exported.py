"""Models that are graphs already: a folder with an encoder and a decoder.

Either form can come from elsewhere, QMedSAM's own exports included:
``encoder.onnx`` and ``decoder.onnx`` (float, or quantized in QDQ or QCDQ form),
or OpenVINO's ``encoder.xml`` and ``decoder.xml`` with their ``.bin``. The
architecture is told from the shapes of inputs and outputs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_qmedsam.checkpoints.header import check_contents
from napari_qmedsam.checkpoints.openvino_import import openvino_core
from napari_qmedsam.errors import BadCheckpoint, UnsupportedBackend
from napari_qmedsam.models.configuration import CONFIGS, ModelConfig

if TYPE_CHECKING:
    import openvino

PARTS = ("encoder", "decoder")
"""Names of the two graphs."""

SUFFIXES = (".xml", ".onnx")
"""The two forms, the one preferred for OpenVINO first."""


@dataclass(frozen=True)
class ExportedGraphs:
    """A pair of graphs in a folder that a runtime takes as they are.

    Parameters
    ----------
    folder : Path
    config : ModelConfig
        As told by the shapes.
    suffixes : tuple of str
        Forms in which both graphs are there.
    is_int8 : bool
        Whether the encoder rounds its activations to integers.
    """

    folder: Path
    config: ModelConfig
    suffixes: tuple[str, ...]
    is_int8: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the pair, in the form OpenVINO takes."""
        graphs = self.pair(self.suffixes[0])
        if self.suffixes[0] != ".xml":
            return graphs
        return *graphs, *(path.with_suffix(".bin") for path in graphs)

    def pair(self, suffix: str) -> tuple[Path, Path]:
        """Return encoder and decoder in one form.

        Raises
        ------
        UnsupportedBackend
            If the folder has only the other form.
        """
        if suffix not in self.suffixes:
            raise UnsupportedBackend(
                f"'{self.folder.resolve().name}' holds graphs in the form "
                f"{self.suffixes[0]}, not {suffix}. Run it on OpenVINO."
            )
        encoder, decoder = (self.folder / f"{part}{suffix}" for part in PARTS)
        return encoder, decoder


def read_exported(folder: Path) -> ExportedGraphs:
    """Recognise the pair of graphs in a folder.

    Raises
    ------
    BadCheckpoint
        If there is no pair, a graph is damaged, or its shapes are those of no
        model of this family.
    """
    suffixes = tuple(
        suffix
        for suffix in SUFFIXES
        if all((folder / f"{part}{suffix}").is_file() for part in PARTS)
    )
    if not suffixes:
        raise BadCheckpoint(
            f"The folder '{folder}' is no exported model: it must hold encoder.onnx "
            "and decoder.onnx, or encoder.xml and decoder.xml."
        )
    encoder = read_graph(folder / f"encoder{suffixes[0]}")
    decoder = read_graph(folder / f"decoder{suffixes[0]}")
    config = _config(encoder, folder)
    shapes = sorted((i.get_partial_shape() for i in decoder.inputs), key=len)
    if [len(shape) for shape in shapes] not in ([2, 4], [3, 4]):
        raise BadCheckpoint(
            f"The decoder in '{folder}' must take an image embedding and boxes; its "
            f"inputs are {', '.join(str(shape) for shape in shapes)}."
        )
    if shapes[0][0].is_static:
        raise BadCheckpoint(
            f"The decoder in '{folder}' takes {shapes[0][0].get_length()} boxes, no "
            "more and no fewer. Export it with a dynamic number of boxes."
        )
    kinds = {op.get_type_name() for op in encoder.get_ops()}
    return ExportedGraphs(folder, config, suffixes, "FakeQuantize" in kinds)


def read_graph(path: Path) -> "openvino.Model":
    """Read a graph in either form.

    Raises
    ------
    BadCheckpoint
        If it cannot be read.
    """
    check_contents(path)
    weights = path.with_suffix(".bin")
    # Empty beside a graph without constants; OpenVINO misses those that are needed.
    if weights.is_file() and weights.stat().st_size:
        check_contents(weights)
    try:
        return openvino_core().read_model(path)
    except (RuntimeError, UnicodeDecodeError) as error:
        # The latter where OpenVINO's own message repeats bytes of the file.
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise BadCheckpoint(
            f"Cannot read the graph '{path}': {lines[-1].strip() if lines else ''} "
            "Export it again."
        ) from error


def _config(encoder: "openvino.Model", folder: Path) -> ModelConfig:
    """Tell the architecture from image and embedding."""
    ports = (encoder.input(0), encoder.output(0))
    shapes = [
        [axis.get_length() if axis.is_static else -1 for axis in shape]
        for shape in (port.get_partial_shape() for port in ports)
    ]
    for config in CONFIGS.values():
        image = [3, config.input_size, config.input_size]
        side = config.embedding_size
        embedding = [config.embedding_channels, side, side]
        if shapes[0][1:] == image and shapes[1][1:] == embedding:
            return config
    raise BadCheckpoint(
        f"The encoder in '{folder}' maps {shapes[0]} to {shapes[1]}, which no known "
        f"architecture does ({', '.join(CONFIGS)})."
    )
