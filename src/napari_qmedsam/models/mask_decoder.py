"""Two-way mask decoder (Kirillov et al., SAM).

Names and shapes of the state dict are those of the published checkpoints.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.models.feature_pyramid import split_features
from napari_qmedsam.models.layers import MLP, LayerNorm2d, TransformerFeedForward

MASK_TOKENS = 4
"""Token 0 answers a box; 1 to 3 are the alternatives of an unclear point."""


def repeat_to(x: Tensor, batch: int) -> Tensor:
    """Repeat each of N rows batch / N times; one row is left to broadcast."""
    if x.shape[0] == 1 or x.shape[0] == batch:
        return x
    return x.repeat_interleave(batch // x.shape[0], dim=0)


class DownscalingAttention(nn.Module):
    """Multi-head attention that works at `inner` channels."""

    def __init__(self, dim: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def _by_head(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        return x.view(b, n, self.heads, c // self.heads).transpose(1, 2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, N, dim) queries over (B, M, dim) keys and values: (B, N, dim)."""
        q, k, v = (
            self._by_head(p(x))
            for p, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        x = self.attend(q, k, v)
        return self.out_proj(x.transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, heads, N, d), (B, heads, M, d) twice: (B, heads, N, d)."""
        return functional.scaled_dot_product_attention(q, k, v)


class TwoWayBlock(nn.Module):
    """Tokens look at themselves, at the image, and the image looks back."""

    def __init__(self, config: ModelConfig, first: bool) -> None:
        super().__init__()
        dim, heads = config.prompt_dim, config.decoder_heads
        self.first = first
        self.self_attn = DownscalingAttention(dim, dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = DownscalingAttention(dim, dim // 2, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = TransformerFeedForward(dim, config.decoder_mlp, functional.relu)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = DownscalingAttention(dim, dim // 2, heads)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update (B, T, dim) tokens and (B, E * E, dim) image."""
        tokens = self.among_tokens(tokens, token_pe)
        keys = image + image_pe
        attended = self.cross_attn_token_to_image(tokens + token_pe, keys, image)
        tokens = self.after_cross_attention(tokens, attended)
        attended = self.cross_attn_image_to_token(keys, tokens + token_pe, tokens)
        return tokens, self.norm4(image + attended)

    def among_tokens(self, tokens: Tensor, token_pe: Tensor) -> Tensor:
        """Have (B, T, dim) tokens look at themselves."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens)
        return self.norm1(tokens)

    def after_cross_attention(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Update (B, T, dim) tokens with what they saw of the image."""
        tokens = self.norm2(tokens + attended)
        return self.norm3(tokens + self.mlp(tokens))


class TwoWayTransformer(nn.Module):
    """The blocks and a last look of the tokens at the image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.prompt_dim
        self.layers = nn.ModuleList(
            TwoWayBlock(config, first=i == 0) for i in range(config.decoder_depth)
        )
        self.final_attn_token_to_image = DownscalingAttention(
            dim, dim // 2, config.decoder_heads
        )
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, dim, E, E) image and (B, T, dim) tokens to tokens and flat image."""
        image = image.flatten(2).transpose(1, 2)  # (B, E * E, dim)
        image_pe = image_pe.flatten(2).transpose(1, 2)
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        attended = self.final_attn_token_to_image(
            tokens + token_pe, image + image_pe, image
        )
        return self.norm_final_attn(tokens + attended), image


class MaskDecoder(nn.Module):
    """Image embedding and prompt embeddings to low-res logits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.prompt_dim
        self.dim, self.lateral = dim, config.encoder.lateral_channels
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, 2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(dim, dim, dim // 8, 3) for _ in range(MASK_TOKENS)
        )
        self.iou_prediction_head = MLP(dim, dim, MASK_TOKENS, 3)
        self.refine = None
        if self.lateral:
            assert self.lateral == (dim // 4, dim // 8)
            self.refine = nn.Conv2d(dim // 4, dim // 4, 3, padding=1)

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Decode B objects.

        Parameters
        ----------
        image_embeddings : Tensor, (N, embedding_channels, E, E)
            One embedding for all objects, or N embeddings with B / N objects
            each, in order.
        image_pe : Tensor, (1, dim, E, E)
        sparse_prompt_embeddings : Tensor, (B, tokens, dim)
        dense_prompt_embeddings : Tensor, (B, dim, E, E)
        multimask_output : bool
            Return the three alternatives instead of the one answer.

        Returns
        -------
        low_res_logits : Tensor, (B, 1 or 3, 4E, 4E)
        iou : Tensor, (B, 1 or 3)
            The model's own guess of each mask's quality.
        """
        batch, size = sparse_prompt_embeddings.shape[0], image_embeddings.shape[-1]
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat(
            [own[None].expand(batch, -1, -1), sparse_prompt_embeddings], dim=1
        )
        # Unpacked before it is repeated: once per image, not once per object.
        embedding, *fine = (
            repeat_to(part, batch)
            for part in split_features(image_embeddings, self.dim, self.lateral)
        )
        tokens, image = self.transformer(
            embedding + dense_prompt_embeddings, image_pe, tokens
        )
        image = image.transpose(1, 2).unflatten(2, (size, size))
        wanted = range(1, MASK_TOKENS) if multimask_output else range(1)
        weights = torch.stack(
            [self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in wanted], dim=1
        )  # (B, masks, dim / 8)
        features = self._upscale(image, fine)
        logits = self.draw(weights, features.flatten(2))
        logits = logits.unflatten(2, features.shape[2:])
        iou = self.iou_prediction_head(tokens[:, 0])
        return logits, iou[:, wanted.start : wanted.stop]

    def draw(self, weights: Tensor, features: Tensor) -> Tensor:
        """(B, masks, c) weights of (B, c, pixels) features: (B, masks, pixels)."""
        return weights @ features

    def _upscale(self, image: Tensor, fine: list[Tensor]) -> Tensor:
        """(B, dim, E, E) to (B, dim / 8, 4E, 4E), fine features mixed in."""
        if self.refine is None:
            return self.output_upscaling(image)
        first, norm, *_ = self.output_upscaling
        return self.refined(norm(first(image)), fine)

    def refined(self, x: Tensor, fine: list[Tensor]) -> Tensor:
        """(B, c, 2E, 2E), upscaled once, to (B, c / 2, 4E, 4E), fine features in."""
        assert self.refine is not None
        _, _, act, second, last = self.output_upscaling
        x = act(x + fine[0])
        x = act(self.refine(x))
        return last(second(x) + fine[1])
