"""State dicts out of weights files, and into models.

Nothing here ever runs code from a file: `.pth` is read with
``weights_only=True``, safetensors holds no code.
"""

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_qmedsam.checkpoints.checksum import check_tensors
from napari_qmedsam.checkpoints.header import (
    QUANTIZED_KEY,
    existing,
    is_safetensors,
    read_card,
)
from napari_qmedsam.checkpoints.model_state import _few
from napari_qmedsam.checkpoints.transformers_names import official_names
from napari_qmedsam.errors import BadCheckpoint

if TYPE_CHECKING:
    from torch import Tensor

    from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor

WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Keys under which training scripts wrap a state dict, those asked first."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What parallel training, compiling and trainers put before every name."""

REBUILT = (".attention_bias_idxs", ".attn.ab")
"""Tables that some files carry and that are made anew from the weights."""


class Weights(NamedTuple):
    """What a weights file holds."""

    state: "dict[str, Tensor]"
    """The state dict, packed weights unpacked."""

    packed: "dict[str, QuantizedTensor]"
    """The packed weights by name of the layer; none in float files."""


def read_state(path: str | os.PathLike) -> dict[str, "Tensor"]:
    """Return the state dict of :func:`read_weights` alone."""
    return read_weights(path).state


def read_weights(path: str | os.PathLike) -> Weights:
    """Read a plain or wrapped state dict; prefixes of training go.

    Raises
    ------
    BadCheckpoint
        If the file is damaged or holds no tensors.
    """
    path = existing(path)
    if is_safetensors(path):
        card = read_card(path)  # refuses damaged files and later versions
        from safetensors.torch import load_file

        from napari_qmedsam.checkpoints.compact import expanded_state
        from napari_qmedsam.checkpoints.packed.model_file import (
            dense_state,
            quantized_weights,
        )

        tensors = load_file(path)
        packed: dict[str, QuantizedTensor] = {}
        # First what can say which tensor is damaged.
        if QUANTIZED_KEY in card:
            packed = quantized_weights(tensors, card, path.name)
            state = dense_state(tensors, packed, card, path.name)
        else:
            state = expanded_state(_cleaned(tensors, path))
        check_tensors(tensors, card, path.name)
        return Weights(state, packed)
    return Weights(_cleaned(_torch_content(path), path), {})


def tensor_names(path: str | os.PathLike) -> list[str]:
    """Return the names of a file's tensors, without reading them where possible.

    Raises
    ------
    BadCheckpoint
        If the file is damaged or holds no tensors.
    """
    path = existing(path)
    if is_safetensors(path):
        read_card(path)  # refuses damaged files
        from safetensors import safe_open

        with safe_open(path, framework="np") as file:
            return list(file.keys())
    return list(_cleaned(_torch_content(path, names_only=True), path))


def _torch_content(path: Path, names_only: bool = False) -> Mapping[Any, Any]:
    import torch
    from torch.serialization import _is_zipfile, safe_globals

    with open(path, "rb") as file:
        is_archive = _is_zipfile(file)
    if is_archive:
        _check_archive(path)
    mapped = names_only and is_archive
    try:
        with safe_globals(_harmless()):
            content = torch.load(
                path, map_location="cpu", weights_only=True, mmap=mapped or None
            )
    except Exception as error:  # torch raises half a dozen unrelated types here
        raise BadCheckpoint(
            f"Cannot read weights from '{path.name}': {_reason(error)}"
        ) from error
    if not isinstance(content, Mapping) or not content:
        raise BadCheckpoint(f"'{path.name}' holds no state dict.")
    return _unwrapped(content, path)


def _check_archive(path: Path) -> None:
    """Refuse a zip archive that torch did not write, which it explains at length."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        raise BadCheckpoint(
            f"Cannot read weights from '{path.name}': the file is damaged or cut "
            "short. Download or export the file again."
        ) from None
    if not any(name.endswith("data.pkl") for name in names):
        held = f", which holds '{names[0]}'" if names else ""
        raise BadCheckpoint(
            f"'{path.name}' is a zip archive{held}, and no PyTorch file. Unpack it "
            "first."
        )


def _unwrapped(content: Mapping[Any, Any], path: Path) -> Mapping[Any, Any]:
    """Return the state dict that a training script wrapped, whatever it called it.

    Raises
    ------
    BadCheckpoint
        If several of its entries may be the one.
    """
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            return _unwrapped(content[wrapper], path)
    if any(_is_array(value) for value in content.values()):
        return content
    inner = {
        str(name): value
        for name, value in content.items()
        if isinstance(value, Mapping) and any(_is_array(v) for v in value.values())
    }
    if len(inner) > 1:
        raise BadCheckpoint(
            f"'{path.name}' holds several state dicts: {_few(list(inner))}. Save the "
            "one that is meant alone."
        )
    return next(iter(inner.values()), content)


def _is_array(value: object) -> bool:
    import torch

    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return isinstance(value, torch.Tensor)


def _harmless() -> list[Any]:
    """Return what scripts keep beside tensors and runs no code.

    NumPy's scalars and arrays, as best scores and learning rates, under the
    module names of NumPy 1 and 2, and the options of argparse.
    """
    import argparse
    import codecs

    core = np._core.multiarray  # type: ignore[attr-defined]
    kinds = "?bBhHiIlLqQefd"
    return [
        (core.scalar, "numpy.core.multiarray.scalar"),
        (core.scalar, "numpy._core.multiarray.scalar"),
        (core._reconstruct, "numpy.core.multiarray._reconstruct"),
        (core._reconstruct, "numpy._core.multiarray._reconstruct"),
        (codecs.encode, "_codecs.encode"),
        np.ndarray,
        np.dtype,
        *{type(np.dtype(kind)) for kind in kinds},
        argparse.Namespace,
    ]


def _cleaned(content: Mapping[Any, Any], path: Path) -> dict[str, "Tensor"]:
    """Return the tensors under the names that our models use."""
    import torch

    state = {
        str(name): torch.as_tensor(value)
        for name, value in content.items()
        if _is_array(value)
    }
    prefix: str | None = ""
    while state and prefix is not None:
        state = {name.removeprefix(prefix): value for name, value in state.items()}
        prefix = next(
            (p for p in PREFIXES if all(n.startswith(p) for n in state)), None
        )
    state = {n: value for n, value in state.items() if not n.endswith(REBUILT)}
    if not state:
        raise BadCheckpoint(f"'{path.name}' holds no tensors.")
    return official_names(state)


def _reason(error: Exception) -> str:
    """Return what torch complains of, without its advice to trust the file."""
    held = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
    if held:
        return (
            f"it holds '{held[1]}' beside its tensors, which could run code "
            "and is not loaded. Save the model's state_dict() alone."
        )
    again = "Download or export the file again."
    if isinstance(error, (pickle.UnpicklingError, KeyError, IndexError)):
        return f"it is no PyTorch file. {again}"
    lines = str(error).splitlines()
    first = lines[0].rstrip(".") if lines else type(error).__name__
    return f"{first}. {again}"
