"""Tensor names of Hugging Face's SamModel, turned into those of the official code.

MedSAM is found most often in that form (``wanglab/medsam-vit-base``). The values are
the same; the library `transformers` only calls them otherwise.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

_POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_MLP = r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)"

TABLE: tuple[tuple[str, str], ...] = (
    # Twice in SamModel, once in safetensors files, which keep tied tensors once.
    (r"^shared_image_embedding\.positional_embedding$", _POSITIONS),
    (r"^prompt_encoder\.shared_embedding\.positional_embedding$", _POSITIONS),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
    (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
    (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
    (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (rf"\.{_MLP}\.layers\.0\.", r".\1.layers.1."),
    (rf"\.{_MLP}\.proj_in\.", r".\1.layers.0."),
    (rf"\.{_MLP}\.proj_out\.", r".\1.layers.2."),
    (r"\.layer_norm(\d|_final_attn)\.", r".norm\1."),
)
"""Patterns of theirs, and what stands there in ours; each is tried, in this order."""


def official_names(state: Mapping[str, Value]) -> dict[str, Value]:
    """Return a state dict under the official names; others come back as they are."""
    if not any(name.startswith("vision_encoder.") for name in state):
        return dict(state)
    return {_official_name(name): value for name, value in state.items()}


def _official_name(name: str) -> str:
    for pattern, replacement in TABLE:
        name = re.sub(pattern, replacement, name)
    return name
