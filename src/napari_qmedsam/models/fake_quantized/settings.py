"""What is quantized, and to how many bits. No torch here."""

from dataclasses import asdict, dataclass
from typing import Any

from napari_qmedsam.errors import InvalidSettings

BIT_WIDTHS = (4, 8)
"""Bits a code may have."""


@dataclass(frozen=True)
class FakeQuantSettings:
    """How a model is fake-quantized.

    Parameters
    ----------
    weight_bit_width, activation_bit_width : int
        4 or 8.
    per_channel : bool
        One weight scale for each output channel instead of one for each
        tensor; the paper has one for each tensor.
    encoder, decoder : bool
        Parts whose matrix products are quantized. The prompt encoder never is.
    statistics_steps : int
        Training forwards over which an activation's scale is collected.

    Raises
    ------
    InvalidSettings
        If a value is outside its range, or nothing is left to quantize.
    """

    weight_bit_width: int = 8
    activation_bit_width: int = 8
    per_channel: bool = False
    encoder: bool = True
    decoder: bool = True
    statistics_steps: int = 300

    def __post_init__(self) -> None:
        for name in ("weight_bit_width", "activation_bit_width"):
            if getattr(self, name) not in BIT_WIDTHS:
                raise InvalidSettings(
                    f"{name} {getattr(self, name)!r} must be 4 or 8 for "
                    "quantization-aware training."
                )
        if not (self.encoder or self.decoder):
            raise InvalidSettings("Quantize the encoder, the decoder, or both.")
        if self.statistics_steps < 1:
            raise InvalidSettings(
                f"statistics_steps must be at least 1, not {self.statistics_steps}."
            )

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the quantized parts, as in the state dict."""
        chosen = (("image_encoder", self.encoder), ("mask_decoder", self.decoder))
        return tuple(name for name, wanted in chosen if wanted)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON for the model card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> "FakeQuantSettings":
        """Undo :meth:`to_dict`.

        Raises
        ------
        InvalidSettings
            If entries are unknown, of another type, or outside their range.
        """
        kinds = {name: type(value) for name, value in asdict(cls()).items()}
        if not isinstance(content, dict) or any(
            name not in kinds or type(value) is not kinds[name]
            for name, value in content.items()
        ):
            raise InvalidSettings("The settings of fake quantization are damaged.")
        return cls(**content)
