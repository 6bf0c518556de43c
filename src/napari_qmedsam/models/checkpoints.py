"""Weights in and out: official `.pth` files and our own safetensors.

Nothing here ever runs code from a file: `.pth` is read with
``weights_only=True``, safetensors holds no code.
"""

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_qmedsam.errors import BadCheckpoint, UnknownModel
from napari_qmedsam.models.catalogue import CATALOGUE
from napari_qmedsam.models.checksum import CHECKSUM_KEY, check_tensors, tensor_checksum
from napari_qmedsam.models.configuration import CONFIGS, ModelConfig, config_of
from napari_qmedsam.models.fake_quantized.checkpoint import CARD_KEY

if TYPE_CHECKING:
    from torch import Tensor

    from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
    from napari_qmedsam.models.medsam import MedSAM
    from napari_qmedsam.models.quantized.tensor import QuantizedTensor

METADATA_KEY = "qmedsam"
"""Entry of the safetensors header that holds our model card as JSON."""

QUANTIZED_KEY = "quantized"
"""Entry of the card that lists the quantized layers."""

FORMAT_VERSION = 1
"""Version of our file format; files of a later version are refused."""

WRAPPERS = ("model", "state_dict")
"""Keys under which training scripts wrap a state dict."""

REBUILT = (".attention_bias_idxs", ".attn.ab")
"""Tables that some files carry and that are made anew from the weights."""


ENCODER_ALONE = (
    "It holds an image encoder alone (a distillation checkpoint); a whole model is "
    "needed."
)
"""What errors say of the files in between that distillation leaves."""

NEVER_RAN = (
    "These are scales of quantized activations: a quantizer that never ran saves "
    "none. Run the model on a few slices before saving it."
)
"""What errors say of fake-quantized models that were saved too early."""


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
        from napari_qmedsam.models.fake_quantized.checkpoint import settings_of

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

        from napari_qmedsam.models.quantized.model_file import quantized_weights

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
        from napari_qmedsam.models import build_model
        from napari_qmedsam.models.fake_quantized.checkpoint import (
            empty_model,
            with_scalar_scales,
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
            return ModelSource(config, _existing(weights))
        from napari_qmedsam.models.download import fetch

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
        from napari_qmedsam.models.exported import read_exported

        return read_exported(path)
    return ModelSource(_recognise(path), path)


def int8_name(model: str) -> str:
    """Return the name of a named model's int8 sibling; `model` if there is none.

    A sibling whose weights are not on this machine does not count.
    """
    from napari_qmedsam.models.download import is_fetched

    sibling = CATALOGUE[model].int8 if model in CATALOGUE else ""
    return sibling if sibling and is_fetched(CATALOGUE[sibling]) else model


def read_state(path: str | os.PathLike) -> dict[str, "Tensor"]:
    """Read a plain or wrapped state dict; prefixes of parallel training go.

    Raises
    ------
    BadCheckpoint
        If the file is damaged or holds no tensors.
    """
    path = _existing(path)
    if path.suffix == ".safetensors":
        card = read_card(path)  # refuses damaged files and later versions
        from safetensors.torch import load_file

        from napari_qmedsam.models.fake_quantized.compact import expanded_state
        from napari_qmedsam.models.quantized.model_file import dense_state

        tensors = load_file(path)
        # First what can say which tensor is damaged.
        if QUANTIZED_KEY in card:
            state = dense_state(tensors, card, path.name)
        else:
            state = expanded_state(_cleaned(tensors, path))
        check_tensors(tensors, card, path.name)
        return state
    return _cleaned(_torch_content(path), path)


def tensor_names(path: str | os.PathLike) -> list[str]:
    """Return the names of a file's tensors, without reading them where possible.

    Raises
    ------
    BadCheckpoint
        If the file is damaged or holds no tensors.
    """
    path = _existing(path)
    if path.suffix == ".safetensors":
        read_card(path)  # refuses damaged files
        from safetensors import safe_open

        with safe_open(path, framework="np") as file:
            return list(file.keys())
    return list(_cleaned(_torch_content(path, names_only=True), path))


def _torch_content(path: Path, names_only: bool = False) -> Mapping[Any, Any]:
    import torch
    from torch.serialization import _is_zipfile

    with open(path, "rb") as file:
        mapped = names_only and _is_zipfile(file)
    try:
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=mapped or None
        )
    except Exception as error:  # torch raises half a dozen unrelated types here
        raise BadCheckpoint(
            f"Cannot read weights from '{path.name}': {_reason(error)}. "
            "Download or export the file again."
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise BadCheckpoint(f"'{path.name}' holds no state dict.")
    return content


def load_state(model: "MedSAM", state: Mapping[str, "Tensor"], name: str) -> None:
    """Load `state` strictly.

    Raises
    ------
    BadCheckpoint
        Listing the missing, unexpected and mis-shaped tensors.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    misshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    parts = [
        f"{len(keys)} {what} ({_few(keys)})"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("mis-shaped", misshaped),
        )
        if keys
    ]
    if parts:
        raise BadCheckpoint(
            f"'{name}' does not fit the model '{model.config.name}': tensors "
            + "; ".join(parts)
            + "."
            + (f" {ENCODER_ALONE}" if _is_encoder_alone(state) else "")
            + (f" {NEVER_RAN}" if missing and _are_scales(missing) else "")
        )
    model.load_state_dict(state)


def save_model(
    model: "MedSAM",
    path: str | os.PathLike,
    card: Mapping[str, Any] | None = None,
    quantized: "Mapping[str, QuantizedTensor] | None" = None,
    *,
    compact: bool = False,
) -> Path:
    """Write weights and model card as safetensors, atomically.

    Parameters
    ----------
    model : MedSAM
    path : path
        Ends in ``.safetensors``.
    card : mapping, optional
        What a user should know: training data, figures, limits.
    quantized : mapping of QuantizedTensor, optional
        Quantized weights by name of the layer; they are stored packed, in
        place of the model's own.
    compact : bool
        Store the weights of fake-quantized layers as the integers that
        inference needs: the model runs as before, but training it further
        would start from rounded weights.

    Raises
    ------
    BadCheckpoint
        If the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from napari_qmedsam.models.quantized.model_file import file_content

    path = Path(path)
    # The card may come from another file; what this one is, only we know.
    header: dict[str, Any] = {
        **(card or {}),
        "format_version": FORMAT_VERSION,
        "architecture": model.config.name,
    }
    if compact:
        from napari_qmedsam.models.fake_quantized.compact import compact_state

        state = compact_state(model)
    else:
        state = model.state_dict()
    tensors, entries = file_content(state, quantized or {})
    header.pop(CARD_KEY, None)
    if model.fake_quant is not None:
        header[CARD_KEY] = model.fake_quant.to_dict()
    if entries:
        header[QUANTIZED_KEY] = entries
    header[CHECKSUM_KEY] = tensor_checksum(tensors)
    part = path.with_name(path.name + ".part")
    try:
        part.touch()
        rights = part.stat().st_mode
        save_file(tensors, part, metadata={METADATA_KEY: json.dumps(header)})
        part.chmod(rights)  # safetensors makes files that only their owner can read
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"Cannot write weights to '{path}': {error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def read_card(path: str | os.PathLike) -> dict[str, Any]:
    """Return the model card in a safetensors header; empty where there is none.

    Raises
    ------
    BadCheckpoint
        If the file is damaged, or of a later format version.
    """
    path = _existing(path)
    if path.suffix != ".safetensors":
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        card = json.loads(metadata.get(METADATA_KEY, "{}"))
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise BadCheckpoint(
            f"'{path.name}' is not a readable safetensors file: {error}."
        ) from error
    if not isinstance(card, dict):
        raise BadCheckpoint(f"The model card of '{path.name}' is not a JSON object.")
    version = card.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise BadCheckpoint(
            f"'{path.name}' has format version {version}; this release reads up to "
            f"{FORMAT_VERSION}. Update napari-qmedsam."
        )
    return card


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
    if _is_encoder_alone(state):
        raise BadCheckpoint(f"'{path.name}' is not a whole model. {ENCODER_ALONE}")
    raise BadCheckpoint(
        f"'{path.name}' is not a model of the MedSAM family: its first tensor is "
        f"'{next(iter(state))}'."
    )


def _are_scales(names: list[str]) -> bool:
    from napari_qmedsam.models.fake_quantized.checkpoint import SCALE

    return all(name.endswith(SCALE) for name in names)


def _is_encoder_alone(state: Mapping[str, "Tensor"]) -> bool:
    return "patch_embed.seq.0.c.weight" in state or "patch_embed.proj.weight" in state


def _cleaned(content: Mapping[Any, Any], path: Path) -> dict[str, "Tensor"]:
    """Return the tensors under the names that our models use."""
    import torch

    state = {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, torch.Tensor) and not str(name).endswith(REBUILT)
    }
    if not state:
        raise BadCheckpoint(f"'{path.name}' holds no tensors.")
    return state


def _reason(error: Exception) -> str:
    """First line of torch's complaint, without its advice to trust the file."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is no PyTorch file, or holds more than tensors"
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _existing(path: str | os.PathLike) -> Path:
    path = Path(path)
    if not path.is_file():
        raise BadCheckpoint(f"There is no weights file '{path}'.")
    return path


def _few(keys: list[str], limit: int = 6) -> str:
    shown = ", ".join(keys[:limit])
    return shown if len(keys) <= limit else f"{shown} and {len(keys) - limit} more"
