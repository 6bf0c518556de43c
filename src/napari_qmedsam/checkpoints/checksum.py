"""A checksum of a file's tensors, kept in its card.

safetensors notices a file that is cut off, but not one whose numbers changed;
a flipped code of a quantized weight would be a mask that is a little wrong.
"""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_qmedsam.errors import BadCheckpoint

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUM_KEY = "tensors_sha256"
"""Where a card has it; files made elsewhere, and older ones, go without."""


def tensor_checksum(tensors: Mapping[str, "Tensor"]) -> str:
    """Return the SHA-256 over names, shapes, types and bytes, in order of name."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_tensors(
    tensors: Mapping[str, "Tensor"], card: Mapping[str, Any], file_name: str
) -> None:
    """Refuse tensors that are not those the card was written with.

    Raises
    ------
    BadCheckpoint
    """
    if CHECKSUM_KEY in card and card[CHECKSUM_KEY] != tensor_checksum(tensors):
        raise BadCheckpoint(
            f"'{file_name}' is damaged: its tensors do not match the checksum in its "
            "card. Copy or make the file again."
        )
