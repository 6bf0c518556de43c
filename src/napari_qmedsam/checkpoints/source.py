"""Models by name or file, with what reads and writes their weights.

The parts are in modules of their own: `header` (the model card), `state_dicts`
(reading) and `saving`. What others need of them can be had here.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.checkpoints.checksum import check_tensors
from napari_qmedsam.checkpoints.header import (
    METADATA_KEY,
    QUANTIZED_KEY,
    existing,
    read_card,
)
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.checkpoints.state_dicts import (
    ENCODER_ALONE,
    is_encoder_alone,
    load_state,
    read_state,
    tensor_names,
)
from napari_qmedsam.errors import BadCheckpoint, UnknownModel
from napari_qmedsam.models.configuration import CONFIGS, ModelConfig, config_of

if TYPE_CHECKING:
    from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor
    from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
    from napari_qmedsam.models.medsam import MedSAM

__all__ = [
    "METADATA_KEY",
    "QUANTIZED_KEY",
    "ModelSource",
    "int8_name",
    "load_state",
    "read_card",
    "read_state",
    "resolve_model",
    "save_model",
    "tensor_names",
]


@dataclass(frozen=True)
class ModelSource:
    """A model that can be built: its configuration and where its weights are.

    Cheap to make: the weights are read by :meth:`build` only.

    Parameters
    ----------
    config : ModelConfig
    path : Path
    entry : str
        Name in the catalogue; empty for a file of the user's own.
    """

    config: ModelConfig
    path: Path
    entry: str = ""

    @property
    def name(self) -> str:
        """What users call it: the model's name, or that of a file of their own."""
        own = QUANTIZED_KEY in self.card or self.fake_quant is not None
        return self.entry or (self.path.name if own else self.config.name)

    @cached_property
    def fake_quant(self) -> "FakeQuantSettings | None":
        """How the model is fake-quantized; None for float weights."""
        from napari_qmedsam.checkpoints.fake_quantized import settings_of

        return settings_of(self.card, lambda: tensor_names(self.path), self.path.name)

    @property
    def is_int8(self) -> bool:
        """Whether its matrix products are meant for integers."""
        return self.fake_quant is not None

    @property
    def size_bytes(self) -> int:
        """Size of the weights file."""
        return self.path.stat().st_size

    def quantized(self) -> "dict[str, QuantizedTensor]":
        """Return the quantized weights by name of the layer; none in float files."""
        if QUANTIZED_KEY not in self.card:
            return {}
        from safetensors.torch import load_file

        from napari_qmedsam.checkpoints.packed.model_file import quantized_weights

        tensors = load_file(self.path)
        weights = quantized_weights(tensors, self.card, self.path.name)
        check_tensors(tensors, self.card, self.path.name)
        return weights

    @cached_property
    def sha256(self) -> str:
        """Checksum of the weights file, for caches and provenance."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def card(self) -> dict[str, Any]:
        """The model card in the file's header; empty for official files."""
        return read_card(self.path)

    def build(self) -> "MedSAM":
        """Return the model with its weights, in eval mode.

        Raises
        ------
        BadCheckpoint
            If the weights do not fit the configuration.
        """
        from napari_qmedsam.checkpoints.fake_quantized import (
            empty_model,
            with_scalar_scales,
        )
        from napari_qmedsam.models import build_model

        made_as = self.card.get("architecture", self.config.name)
        if made_as != self.config.name:
            raise BadCheckpoint(
                f"'{self.path.name}' does not fit the model '{self.config.name}': it "
                f"is a model of the architecture '{made_as}'. Give it in place of "
                "the model's name."
            )
        state, settings = read_state(self.path), self.fake_quant
        if settings is None:
            model = build_model(self.config)
        else:
            model = empty_model(self.config, settings)
            state = with_scalar_scales(state)
        load_state(model, state, self.path.name)
        return model.eval()


def resolve_model(
    model: str,
    weights: str | os.PathLike | None = None,
    *,
    progress: Callable[[int, int | None], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> ModelSource:
    """Find the weights for a model name or a weights file.

    Official weights are downloaded the first time.

    Parameters
    ----------
    model : str
        ``demo``, ``lite_medsam``, ``medsam_vit_b``, or the path of a weights
        file, or of a folder with exported graphs, whose architecture is then
        recognised.
    weights : path, optional
        A file to use for a named model instead of the cached download.
    progress : callable, optional
        Called while downloading with bytes so far and bytes in all.
    should_cancel : callable, optional
        Asked while downloading.

    Raises
    ------
    UnknownModel
        If the name is unknown and no such file exists.
    BadCheckpoint
        If the file is not a model of this family.
    DownloadFailed
        If official weights are needed and cannot be had.
    """
    if model in CATALOGUE or model in CONFIGS:
        known_entry = CATALOGUE.get(model)
        config = config_of(known_entry.architecture if known_entry else model)
        if weights is not None:
            return ModelSource(config, existing(weights))
        from napari_qmedsam.checkpoints.download import fetch

        path = fetch(model, progress=progress, should_cancel=should_cancel)
        return ModelSource(config, path, model)
    known = ", ".join(CATALOGUE)
    if weights is not None:
        raise UnknownModel(
            f"Weights were given for '{model}', which is no model. Known: {known}. "
            "A weights file can also be given in place of the model's name."
        )
    path = Path(model)
    if not path.exists():
        raise UnknownModel(
            f"'{model}' is neither a model ({known}) nor an existing weights file."
        )
    if path.is_dir():
        from napari_qmedsam.checkpoints.exported import read_exported

        return read_exported(path)
    return ModelSource(_recognise(path), path)


def int8_name(model: str) -> str:
    """Return the name of a named model's int8 sibling; `model` if there is none.

    A sibling whose weights are not on this machine does not count.
    """
    from napari_qmedsam.checkpoints.download import is_fetched

    sibling = CATALOGUE[model].int8 if model in CATALOGUE else ""
    return sibling if sibling and is_fetched(CATALOGUE[sibling]) else model


def _recognise(path: Path) -> ModelConfig:
    """Tell the architecture from the card, or from names and shapes."""
    architecture = read_card(path).get("architecture")
    if architecture is not None:
        if architecture not in CONFIGS:
            raise BadCheckpoint(
                f"'{path.name}' is a model of architecture '{architecture}', which "
                f"this release does not know ({', '.join(CONFIGS)})."
            )
        return config_of(architecture)
    state = read_state(path)
    if "image_encoder.blocks.0.attn.rel_pos_h" in state:
        return config_of("medsam_vit_b")
    stem = state.get("image_encoder.patch_embed.seq.0.c.weight")
    if stem is not None:
        return config_of("lite_medsam" if stem.shape[-1] == 1 else "demo")
    if is_encoder_alone(state):
        raise BadCheckpoint(f"'{path.name}' is not a whole model. {ENCODER_ALONE}")
    raise BadCheckpoint(
        f"'{path.name}' is not a model of the MedSAM family: its first tensor is "
        f"'{next(iter(state))}'."
    )
