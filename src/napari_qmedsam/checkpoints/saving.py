"""Weights and model card into a safetensors file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_qmedsam.checkpoints.checksum import CHECKSUM_KEY, tensor_checksum
from napari_qmedsam.checkpoints.fake_quantized import CARD_KEY
from napari_qmedsam.checkpoints.header import (
    FORMAT_VERSION,
    METADATA_KEY,
    QUANTIZED_KEY,
    TILED_SHARE_KEY,
)
from napari_qmedsam.disk import atomic_write
from napari_qmedsam.errors import BadCheckpoint
from napari_qmedsam.models.configuration import CONFIGS

if TYPE_CHECKING:
    from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor
    from napari_qmedsam.models.medsam import MedSAM


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

    from napari_qmedsam.checkpoints.packed.model_file import file_content

    path = Path(path)
    # The card may come from another file; what this one is, only we know.
    header: dict[str, Any] = {
        **(card or {}),
        "format_version": FORMAT_VERSION,
        "architecture": model.config.name,
    }
    if compact:
        from napari_qmedsam.checkpoints.compact import compact_state

        state = compact_state(model)
    else:
        state = model.state_dict()
    tensors, entries = file_content(state, quantized or {})
    header.pop(CARD_KEY, None)
    header.pop(TILED_SHARE_KEY, None)
    usual = CONFIGS.get(model.config.name, model.config)
    if model.config.tiled_share != usual.tiled_share:
        header[TILED_SHARE_KEY] = model.config.tiled_share
    if model.fake_quant is not None:
        header[CARD_KEY] = model.fake_quant.to_dict()
    if entries:
        header[QUANTIZED_KEY] = entries
    header[CHECKSUM_KEY] = tensor_checksum(tensors)
    try:
        with atomic_write(path) as part:
            save_file(tensors, part, metadata={METADATA_KEY: json.dumps(header)})
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"Cannot write weights to '{path}': {error}.") from error
    return path
