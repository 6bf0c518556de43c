"""A model as a value that travels: its configuration and where its file is."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_qmedsam.checkpoints.arithmetic import Arithmetic
from napari_qmedsam.checkpoints.checksum import file_sha256
from napari_qmedsam.checkpoints.exported import ExportedGraphs
from napari_qmedsam.checkpoints.fake_quantized import (
    empty_model,
    settings_of,
    with_scalar_scales,
)
from napari_qmedsam.checkpoints.header import QUANTIZED_KEY, read_card
from napari_qmedsam.checkpoints.model_state import load_state
from napari_qmedsam.checkpoints.state_dicts import read_weights, tensor_names
from napari_qmedsam.errors import BadCheckpoint, UnsupportedBackend
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings

if TYPE_CHECKING:
    from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor
    from napari_qmedsam.models.medsam import MedSAM


class LoadedModel(NamedTuple):
    """A model with its weights, and those of them that its file holds packed."""

    model: "MedSAM"
    packed: "dict[str, QuantizedTensor]"


@dataclass(frozen=True)
class ModelSource:
    """A model that can be loaded: its configuration and where its file is.

    Cheap to make: weights are read by :meth:`load` only.

    Parameters
    ----------
    config : ModelConfig
    path : Path
        A weights file, or a folder with graphs.
    entry : str
        What users call it, where that is not the name of a file of their own.
    graphs : ExportedGraphs or None
        The pair of graphs in the folder; None for weights.
    """

    config: ModelConfig
    path: Path
    entry: str = ""
    graphs: ExportedGraphs | None = None

    @cached_property
    def arithmetic(self) -> Arithmetic:
        """How the model is quantized, if it is."""
        if self.graphs is not None:
            return Arithmetic.INT8 if self.graphs.is_int8 else Arithmetic.FLOAT
        if self.fake_quant is not None:
            return Arithmetic.INT8
        return Arithmetic.PACKED if QUANTIZED_KEY in self.card else Arithmetic.FLOAT

    @property
    def name(self) -> str:
        """What users call it: the model's name, or that of a file of their own."""
        if self.entry:
            return self.entry
        if self.graphs is not None:
            return self.path.resolve().name
        is_own = self.arithmetic is not Arithmetic.FLOAT
        return self.path.name if is_own else self.config.name

    @cached_property
    def fake_quant(self) -> FakeQuantSettings | None:
        """How weights are fake-quantized; None for other weights, and graphs."""
        if self.graphs is not None:
            return None
        return settings_of(self.card, lambda: tensor_names(self.path), self.path.name)

    @cached_property
    def card(self) -> dict[str, Any]:
        """The model card in the file's header; official files and graphs have none."""
        return {} if self.graphs is not None else read_card(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the model is made of."""
        return (self.path,) if self.graphs is None else self.graphs.files

    @property
    def size_bytes(self) -> int:
        """Size of the files."""
        return sum(path.stat().st_size for path in self.files)

    @cached_property
    def sha256(self) -> str:
        """Checksum of the files, for caches and provenance."""
        digests = [file_sha256(path) for path in self.files]
        if self.graphs is None:
            return digests[0]
        return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()

    def load(self) -> LoadedModel:
        """Read the file, once, and return the model in eval mode.

        Raises
        ------
        BadCheckpoint
            If the weights do not fit the configuration.
        UnsupportedBackend
            If the model is a pair of graphs, which no torch model can be made of.
        """
        from napari_qmedsam.models import build_model

        if self.graphs is not None:
            raise UnsupportedBackend(
                f"'{self.name}' is an exported pair of graphs: it runs on OpenVINO, "
                "or as ONNX on ONNX Runtime, but not in torch, and cannot be trained "
                "or quantized."
            )
        made_as = self.card.get("architecture", self.config.name)
        if made_as != self.config.name:
            raise BadCheckpoint(
                f"'{self.path.name}' does not fit the model '{self.config.name}': it "
                f"is a model of the architecture '{made_as}'. Give it in place of "
                "the model's name."
            )
        state, packed = read_weights(self.path)
        if self.fake_quant is None:
            model = build_model(self.config)
        else:
            model = empty_model(self.config, self.fake_quant)
            state = with_scalar_scales(state)
        load_state(model, state, self.path.name)
        return LoadedModel(model.eval(), packed)

    def build(self) -> "MedSAM":
        """Return the model of :meth:`load` alone."""
        return self.load().model
