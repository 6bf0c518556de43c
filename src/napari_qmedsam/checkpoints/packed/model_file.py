"""The quantized model file, ``*.qmedsam.safetensors``.

One safetensors file: packed weights with their scales
(:mod:`~napari_qmedsam.checkpoints.packed.storage`), the other tensors as float32,
and the model card as JSON in the header. The card lists the quantized layers
under ``quantized``. Loading checks everything and runs nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from napari_qmedsam.checkpoints.packed.storage import PARTS, from_tensors, to_tensors
from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor
from napari_qmedsam.errors import BadCheckpoint

SUFFIX = ".qmedsam.safetensors"
"""How the files are called."""


def to_rows(weight: Tensor, transposed: bool) -> Tensor:
    """Return a layer's weight with outputs first, as it is quantized.

    A transposed convolution (in, out, kh, kw) gives (out * kh * kw, in).
    """
    return weight.permute(1, 2, 3, 0).flatten(0, 2) if transposed else weight


def from_rows(rows: Tensor, shape: tuple[int, ...], transposed: bool) -> Tensor:
    """Undo :func:`to_rows`, given the shape the layer's weight has."""
    if not transposed:
        return rows.reshape(shape)
    inputs, outputs, kh, kw = shape
    return rows.reshape(outputs, kh, kw, inputs).permute(3, 0, 1, 2).contiguous()


def float_bytes(state: Mapping[str, Tensor], quantized: Iterable[str] = ()) -> int:
    """Bytes of a state dict, without the weights of the layers named."""
    replaced = {f"{name}.weight" for name in quantized}
    return sum(
        value.numel() * value.element_size()
        for name, value in state.items()
        if name not in replaced
    )


def file_content(
    state: Mapping[str, Tensor], weights: Mapping[str, QuantizedTensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the card entry of a quantized model's file.

    Parameters
    ----------
    state : mapping of Tensor
        State dict of the model; the weights of quantized layers are left out.
    weights : mapping of QuantizedTensor
        By name of the layer.
    """
    replaced = {f"{name}.weight" for name in weights}
    tensors = {
        name: value.detach().cpu().contiguous()
        for name, value in state.items()
        if name not in replaced
    }
    entries = {}
    for name, tensor in weights.items():
        shape = tuple(state[f"{name}.weight"].shape)
        parts, entry = to_tensors(name, tensor)
        tensors |= {part: value.contiguous() for part, value in parts.items()}
        transposed = tuple(tensor.shape) != shape
        entries[name] = entry | {"weight_shape": list(shape), "transposed": transposed}
    return tensors, entries


def quantized_weights(
    tensors: Mapping[str, Tensor], card: Mapping[str, Any], file_name: str
) -> dict[str, QuantizedTensor]:
    """Return the quantized weights of a file, checked.

    Raises
    ------
    BadCheckpoint
        If the list in the card or a tensor is damaged.
    """
    entries = card.get("quantized", {})
    if not isinstance(entries, dict):
        raise BadCheckpoint(f"The list of layers in '{file_name}' is damaged.")
    weights = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise BadCheckpoint(f"The entry of layer '{name}' is damaged.")
        weights[name] = from_tensors(name, tensors, entry)
    return weights


def dense_state(
    tensors: Mapping[str, Tensor],
    weights: Mapping[str, QuantizedTensor],
    card: Mapping[str, Any],
    file_name: str,
) -> dict[str, Tensor]:
    """Return the state dict of a file with its quantized weights unpacked.

    Parameters
    ----------
    tensors : mapping of Tensor
        All of the file.
    weights : mapping of QuantizedTensor
        What :func:`quantized_weights` found among them.
    card : mapping
    file_name : str
        For errors.

    Raises
    ------
    BadCheckpoint
        If a weight cannot take its layer's shape.
    """
    packed = {f"{name}.{part}" for name in weights for part in PARTS}
    state = {name: value for name, value in tensors.items() if name not in packed}
    for name, tensor in weights.items():
        entry = card["quantized"][name]
        shape = tuple(entry.get("weight_shape", tensor.shape))
        try:
            dense = from_rows(tensor.dequantize(), shape, bool(entry.get("transposed")))
        except (RuntimeError, ValueError, TypeError) as error:
            raise BadCheckpoint(
                f"Quantized weight '{name}' of '{file_name}' cannot take shape {shape}."
            ) from error
        state[f"{name}.weight"] = dense.to(torch.float32)
    return state
