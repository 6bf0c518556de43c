"""Attention, and the decoder's masks, with both factors fake-quantized."""

from torch import Tensor, nn

from napari_qmedsam.models.fake_quantized.quantizers import QuantIdentity
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.models.mask_decoder import DownscalingAttention, MaskDecoder
from napari_qmedsam.models.tiny_vit import WindowAttention
from napari_qmedsam.models.vit import RelativeAttention

SECOND_FACTORS = ("act_k", "act_v", "act_rh", "act_rw", "act_hyper_in")
"""Stand where a layer's weight would, on the right of the product."""


class QuantizedProducts:
    """What the classes here share: quantizers by name."""

    factors: tuple[str, ...] = ("act_q", "act_k", "act_attn", "act_v")
    act_q: QuantIdentity
    act_k: QuantIdentity
    act_attn: QuantIdentity
    act_v: QuantIdentity
    by_row = False
    """Attention weights are shares of the largest of their row."""

    def prepare(self, settings: FakeQuantSettings) -> None:
        """Add the quantizers."""
        for name in self.factors:
            second = name in SECOND_FACTORS
            bits = (
                settings.factor_bit_width if second else settings.activation_bit_width
            )
            setattr(self, name, QuantIdentity(bits, settings.statistics_steps))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """Softmax attention; `q` is on its grid already."""
        scores = q @ self.act_k(k).transpose(-2, -1) * q.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias
        if not self.by_row:
            return self.act_attn(scores.softmax(dim=-1)) @ self.act_v(v)
        shares = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        shares = self.act_attn(shares)
        return (shares @ self.act_v(v)) / shares.sum(dim=-1, keepdim=True)


class QuantWindowAttention(QuantizedProducts, WindowAttention):
    """Attention of TinyViT."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """(B, heads, N, d) each, bias (heads, N, N): (B, heads, N, d)."""
        return self._attend(self.act_q(q), k, v, bias)


class QuantRelativeAttention(QuantizedProducts, RelativeAttention):
    """Attention of the ViT; the products with positions are quantized too."""

    factors = (*QuantizedProducts.factors, "act_rh", "act_rw")
    act_rh: QuantIdentity
    act_rw: QuantIdentity

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, heads, N, d) each: (B, heads, N, d)."""
        q = self.act_q(q)
        rel_h, rel_w = self.positions()
        bias = self.position_bias(q, self.act_rh(rel_h), self.act_rw(rel_w))
        return self._attend(q, k, v, bias)


class QuantDownscalingAttention(QuantizedProducts, DownscalingAttention):
    """Attention of the mask decoder."""

    def prepare(self, settings: FakeQuantSettings) -> None:
        """Add the quantizers."""
        super().prepare(settings)
        self.by_row = settings.attention_by_row

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, heads, N, d), (B, heads, M, d) twice: (B, heads, N, d)."""
        return self._attend(self.act_q(q), k, v, None)


class QuantMaskDecoder(QuantizedProducts, MaskDecoder):
    """Mask decoder: its last product is between two activations as well."""

    factors = ("act_hyper_in", "act_embedding")
    act_hyper_in: QuantIdentity
    act_embedding: QuantIdentity

    def draw(self, weights: Tensor, features: Tensor) -> Tensor:
        """(B, masks, c) weights of (B, c, pixels) features: (B, masks, pixels)."""
        pixels = self.act_embedding(features).transpose(-2, -1)
        return (pixels @ self.act_hyper_in(weights).transpose(-2, -1)).transpose(-2, -1)


PRODUCTS: dict[type[nn.Module], type[QuantizedProducts]] = {
    WindowAttention: QuantWindowAttention,
    RelativeAttention: QuantRelativeAttention,
    DownscalingAttention: QuantDownscalingAttention,
    MaskDecoder: QuantMaskDecoder,
}
"""The fake-quantized form of each module that multiplies two activations."""
