"""Recognising fake-quantized checkpoints, ours and Brevitas's.

A Brevitas state dict says which activations are quantized, by the names of
their scales, but neither bits nor granularity: those of the paper are taken
then, 8 bits and one scale for each weight. Our own files say it in their card.
"""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from napari_qmedsam.errors import BadCheckpoint, InvalidSettings
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings

if TYPE_CHECKING:
    from torch import Tensor

    from napari_qmedsam.models.configuration import ModelConfig
    from napari_qmedsam.models.medsam import MedSAM

CARD_KEY = "fake_quantized"
"""Entry of the model card that holds the settings."""

SCALE = ".fused_activation_quant_proxy.tensor_quant.scaling_impl.value"
"""How the name of a scale ends."""


def settings_of(
    card: Mapping[str, Any], names: Callable[[], Collection[str]], file_name: str
) -> FakeQuantSettings | None:
    """Tell how a file's model is fake-quantized; None for float models.

    Parameters
    ----------
    card : mapping
        The model card; empty for files that are not ours.
    names : callable
        Returns the names of the tensors; asked only where the card is empty.
    file_name : str
        For errors.

    Raises
    ------
    BadCheckpoint
        If the settings in the card are damaged.
    """
    if CARD_KEY in card:
        try:
            return FakeQuantSettings.from_dict(card[CARD_KEY])
        except InvalidSettings as error:
            raise BadCheckpoint(f"The card of '{file_name}': {error}") from error
    if card:
        return None
    parts = {name.split(".")[0] for name in names() if name.endswith(SCALE)}
    if not parts & {"image_encoder", "mask_decoder"}:
        return None
    return FakeQuantSettings(
        encoder="image_encoder" in parts, decoder="mask_decoder" in parts
    )


def empty_model(config: "ModelConfig", settings: FakeQuantSettings) -> "MedSAM":
    """Return a fake-quantized model whose state dict has a place for every scale."""
    from napari_qmedsam.models import build_model
    from napari_qmedsam.models.fake_quantized.model import fake_quantize, quantizers

    model = fake_quantize(build_model(config), settings)
    for _, quantizer in quantizers(model):
        quantizer.learned.set(1.0)
    return model


def with_scalar_scales(state: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return a state dict whose scales are scalars, as some have one element."""
    return {
        name: value.reshape(()) if name.endswith(SCALE) and value.ndim == 1 else value
        for name, value in state.items()
        if not (name.endswith(SCALE) and value.numel() != 1)
    }
