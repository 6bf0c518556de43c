"""ViT image encoder with relative positions, as SAM and MedSAM use it.

Names and shapes of the state dict are those of the published checkpoints
(Li et al., ViTDet; Kirillov et al., SAM).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_qmedsam.models.configuration import ModelConfig, ViTConfig
from napari_qmedsam.models.layers import (
    TransformerFeedForward,
    join_windows,
    make_neck,
    split_windows,
)


class PatchProjection(nn.Module):
    """Non-overlapping patches to tokens."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, S / patch, S / patch, dim)."""
        return self.proj(x).permute(0, 2, 3, 1)


class RelativeAttention(nn.Module):
    """Multi-head attention with decomposed relative positions.

    The projection is laid out (q, k, v) over all heads; the position terms use
    the unscaled q.
    """

    offsets: Tensor

    def __init__(self, dim: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        head_dim = dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, head_dim))
        index = torch.arange(size)
        self.register_buffer(
            "offsets", index[:, None] - index + size - 1, persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, size, size, dim) to the same shape."""
        b, s, _, dim = x.shape
        qkv = self.qkv(x).view(b, s * s, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, s * s, d)
        x = self.attend(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, s, s, dim))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, heads, N, d) each: (B, heads, N, d)."""
        bias = self.position_bias(q, *self.positions())
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    def positions(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of all pairs of rows and of columns: (s, s, d)."""
        return self.rel_pos_h[self.offsets], self.rel_pos_w[self.offsets]

    def position_bias(self, q: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        """(B, heads, N, d) with the vectors of :meth:`positions`: (B, heads, N, N)."""
        b, n, s = q.shape[0], q.shape[2], self.size
        grid = q.reshape(b, self.heads, s, s, -1)
        along_h = torch.einsum("bnhwd,hkd->bnhwk", grid, rel_h)
        along_w = torch.einsum("bnhwd,wkd->bnhwk", grid, rel_w)
        bias = along_h[..., :, None] + along_w[..., None, :]  # (B, heads, s, s, s, s)
        return bias.reshape(b, self.heads, n, n)


class ViTBlock(nn.Module):
    """Pre-norm transformer block; `window` 0 means global attention."""

    def __init__(self, config: ViTConfig, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(config.dim, eps=1e-6)
        self.attn = RelativeAttention(
            config.dim, config.heads, window or config.embedding_size
        )
        self.norm2 = nn.LayerNorm(config.dim, eps=1e-6)
        self.mlp = TransformerFeedForward(
            config.dim, config.dim * config.mlp_ratio, functional.gelu
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) to the same shape."""
        y = self.norm1(x)
        if self.window:
            # Zero padding follows the normalisation here and is not masked.
            h, w = x.shape[1:3]
            windows, padded = split_windows(y, self.window)
            y = join_windows(self.attn(windows), self.window, padded, (h, w))
        else:
            y = self.attn(y)
        x = x + y
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """The image encoder: (B, 3, 1024, 1024) in [0, 1] to (B, 256, 64, 64)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        encoder = config.encoder
        assert isinstance(encoder, ViTConfig)
        size = encoder.embedding_size
        self.pos_embed = nn.Parameter(torch.zeros(1, size, size, encoder.dim))
        self.patch_embed = PatchProjection(encoder.dim, encoder.patch)
        self.blocks = nn.ModuleList(
            ViTBlock(encoder, 0 if i in encoder.global_blocks else encoder.window)
            for i in range(encoder.depth)
        )
        self.neck = make_neck(encoder.dim, config.prompt_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image embedding, (B, prompt_dim, E, E)."""
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))
