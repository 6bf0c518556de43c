"""A state dict into a model, or why it does not fit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_qmedsam.errors import BadCheckpoint

if TYPE_CHECKING:
    from torch import Tensor

    from napari_qmedsam.models.medsam import MedSAM

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
    # Codes of a quantizer are no weights without their scales.
    mistyped = [
        f"{key} of {str(state[key].dtype).removeprefix('torch.')}"
        for key in own
        if key in state
        and own[key].is_floating_point()
        and not state[key].is_floating_point()
    ]
    parts = [
        f"{len(keys)} {what} ({_few(keys)})"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("mis-shaped", misshaped),
            ("mistyped", mistyped),
        )
        if keys
    ]
    if parts:
        raise BadCheckpoint(
            f"'{name}' does not fit the model '{model.config.name}': tensors "
            + "; ".join(parts)
            + "."
            + (f" {ENCODER_ALONE}" if is_encoder_alone(state) else "")
            + (f" {NEVER_RAN}" if missing and _are_scales(missing) else "")
        )
    _check_finite(model, state, name)
    model.load_state_dict(state)


def _check_finite(model: "MedSAM", state: Mapping[str, "Tensor"], name: str) -> None:
    """Refuse weights with NaN or infinities, whose masks would be empty."""
    for key in model.state_dict():
        tensor = state[key]
        # A sum is cheap; only where it is not finite every value is looked at.
        if not tensor.is_floating_point() or tensor.sum().isfinite():
            continue
        bad = int((~tensor.isfinite()).sum())
        if bad:
            raise BadCheckpoint(
                f"'{name}' holds {bad} of {tensor.numel()} values that are NaN or "
                f"infinite in the tensor '{key}'. Download or train it again."
            )


def _are_scales(names: list[str]) -> bool:
    from napari_qmedsam.checkpoints.fake_quantized import SCALE

    return all(name.endswith(SCALE) for name in names)


def is_encoder_alone(state: Mapping[str, "Tensor"]) -> bool:
    """Tell whether a state dict holds an image encoder and nothing else."""
    return "patch_embed.seq.0.c.weight" in state or "patch_embed.proj.weight" in state


def _few(keys: list[str], limit: int = 6) -> str:
    shown = ", ".join(keys[:limit])
    return shown if len(keys) <= limit else f"{shown} and {len(keys) - limit} more"
