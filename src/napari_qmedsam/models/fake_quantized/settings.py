"""What is quantized, and to how many bits. No torch here."""

from dataclasses import asdict, dataclass
from typing import Any

from napari_qmedsam.errors import InvalidSettings

WEIGHT_BIT_WIDTHS = (4, 7, 8)
"""Bits a weight's code may have.

8 is the paper's choice. Processors without VNNI instructions add two 8-bit
products in 16 bits, which overflows. If the second factor of every product has
7 bits it cannot, so such a model runs in int8, and right, everywhere.
"""

ACTIVATION_BIT_WIDTHS = (4, 8)
"""Bits an activation's code may have."""


@dataclass(frozen=True)
class FakeQuantSettings:
    """How a model is fake-quantized.

    Parameters
    ----------
    weight_bit_width : int
        4, 7 or 8.
    activation_bit_width : int
        4 or 8.
    per_channel : bool
        One weight scale for each output channel instead of one for each
        tensor; the paper has one for each tensor.
    encoder, decoder : bool
        Parts whose matrix products are quantized. The prompt encoder never is.
    statistics_steps : int
        Training forwards over which an activation's scale is collected.
    attention_by_row : bool
        Round the attention weights of the decoder as shares of the largest of
        their row, not as they are: a token that looks at a thousand pixels keeps
        all its levels. The paper rounds them as they are.
    smooth_convolutions : bool
        Divide the channels of what enters a convolution by constants, before it is
        rounded, and multiply the weights by them: a few channels with large values
        leave the others their levels. The paper does not.

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
    attention_by_row: bool = False
    smooth_convolutions: bool = False

    def __post_init__(self) -> None:
        for name, known in (
            ("weight_bit_width", WEIGHT_BIT_WIDTHS),
            ("activation_bit_width", ACTIVATION_BIT_WIDTHS),
        ):
            if getattr(self, name) not in known:
                raise InvalidSettings(
                    f"{name} {getattr(self, name)!r} must be "
                    f"{' or '.join(str(bits) for bits in known)} for "
                    "quantization-aware training."
                )
        if not (self.encoder or self.decoder):
            raise InvalidSettings("Quantize the encoder, the decoder, or both.")
        if self.statistics_steps < 1:
            raise InvalidSettings(
                f"statistics_steps must be at least 1, not {self.statistics_steps}."
            )

    @property
    def factor_bit_width(self) -> int:
        """Bits of the second factor where both are activations: keys, values.

        With weights below 8 bits it has 7 at most, so that nothing overflows.
        """
        if self.weight_bit_width == 8:
            return self.activation_bit_width
        return min(self.activation_bit_width, 7)

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
