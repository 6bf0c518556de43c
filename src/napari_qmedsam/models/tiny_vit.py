"""TinyViT image encoder, as LiteMedSAM uses it (Wu et al., ECCV 2022).

Names and shapes of the state dict are those of the published checkpoints.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_qmedsam.models.configuration import ModelConfig, TinyViTConfig
from napari_qmedsam.models.feature_pyramid import FeaturePyramid
from napari_qmedsam.models.layers import join_windows, make_neck, split_windows


class ConvNorm(nn.Module):
    """Convolution without bias, then batch normalisation."""

    def __init__(
        self, in_c: int, out_c: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            in_c, out_c, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_c)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_c, H, W) to (B, out_c, H / stride, W / stride)."""
        return self.bn(self.c(x))


class PatchEmbedding(nn.Module):
    """The stem: two convolutions with GELU between them."""

    def __init__(self, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, dim // 2, kernel, stride),
            nn.GELU(),
            ConvNorm(dim // 2, dim, kernel, stride),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features after both convolutions and after the first."""
        first = self.seq[1](self.seq[0](x))
        return self.seq[2](first), first


class MBConv(nn.Module):
    """Inverted bottleneck; GELU comes after the residual sum."""

    def __init__(self, dim: int, expand: int = 4) -> None:
        super().__init__()
        hidden = dim * expand
        self.conv1 = ConvNorm(dim, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) to the same shape."""
        y = functional.gelu(self.conv1(x))
        y = functional.gelu(self.conv2(y))
        return functional.gelu(x + self.conv3(y))


class PatchMerging(nn.Module):
    """Change of width and resolution between two stages."""

    def __init__(self, in_dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_dim, out_dim)
        self.conv2 = ConvNorm(out_dim, out_dim, 3, stride, groups=out_dim)
        self.conv3 = ConvNorm(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_dim, H, W) to (B, out_dim, H / stride, W / stride)."""
        x = functional.gelu(self.conv1(x))
        x = functional.gelu(self.conv2(x))
        return self.conv3(x)


class WindowAttention(nn.Module):
    """Multi-head attention with one learned bias per distance of two positions.

    The projection is laid out per head as (q, k, v).
    """

    bias_index: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        y, x = y.flatten(), x.flatten()
        dy, dx = (y[:, None] - y).abs(), (x[:, None] - x).abs()
        self.register_buffer("bias_index", dy * window + dx, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, dim) to the same shape, N = window squared."""
        b, n, dim = x.shape
        qkv = self.qkv(self.norm(x)).view(b, n, self.heads, 3, self.head_dim)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)  # (B, heads, N, head_dim)
        bias = self.attention_biases[:, self.bias_index]  # (heads, N, N)
        x = self.attend(q, k, v, bias.to(q.dtype))
        return self.proj(x.transpose(1, 2).reshape(b, n, dim))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """(B, heads, N, d) each, bias (heads, N, N): (B, heads, N, d)."""
        if torch.compiler.is_compiling():
            # Spelt out: with a bias that learns, what is compiled in place of it fails
            # on GPUs in the backward pass (2.11).
            scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5 + bias
            return scores.softmax(dim=-1).to(v.dtype) @ v
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])


class FeedForward(nn.Module):
    """Normalisation, two linear layers, GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to the same shape."""
        return self.fc2(functional.gelu(self.fc1(self.norm(x))))


class TinyViTBlock(nn.Module):
    """Window attention, depthwise convolution (no residual), feed-forward."""

    def __init__(self, dim: int, heads: int, window: int, mlp_ratio: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(dim, heads, window)
        self.mlp = FeedForward(dim, dim * mlp_ratio)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) to the same shape."""
        dim, h, w = x.shape[1:]
        x = x.permute(0, 2, 3, 1)  # (B, H, W, dim)
        # Padding precedes the normalisation inside attn and is not masked:
        # the published weights were trained with padded tokens taking part.
        windows, padded = split_windows(x, self.window)
        attended = self.attn(windows.flatten(1, 2)).view_as(windows)
        x = x + join_windows(attended, self.window, padded, (h, w))
        x = self.local_conv(x.permute(0, 3, 1, 2))
        # One axis of positions, for the reason that LayerNorm2d gives.
        x = x.permute(0, 2, 3, 1).reshape(-1, h * w, dim)
        x = x + self.mlp(x)
        return x.reshape(-1, h, w, dim).permute(0, 3, 1, 2)


class TinyViTStage(nn.Module):
    """The blocks at one resolution, then the change to the next."""

    def __init__(self, config: TinyViTConfig, index: int) -> None:
        super().__init__()
        dim = config.dims[index]
        self.blocks = nn.ModuleList(
            MBConv(dim)
            if index == 0
            else TinyViTBlock(
                dim, config.heads[index], config.windows[index], config.mlp_ratio
            )
            for _ in range(config.depths[index])
        )
        self.downsample = None
        if index + 1 < len(config.dims):
            self.downsample = PatchMerging(
                dim, config.dims[index + 1], config.strides[index]
            )

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks at one resolution."""
        for block in self.blocks:
            x = block(x)
        return x


class TinyViT(nn.Module):
    """The image encoder: (B, 3, S, S) in [0, 1] to the image embedding.

    Official configuration: (B, 3, 256, 256) to (B, 256, 64, 64). With lateral
    channels, the fine features follow in further channels
    (:class:`~napari_qmedsam.models.feature_pyramid.FeaturePyramid`).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        encoder = config.encoder
        assert isinstance(encoder, TinyViTConfig)
        self.config = encoder
        self.patch_embed = PatchEmbedding(
            encoder.dims[0], encoder.stem_kernel, encoder.stem_stride
        )
        self.layers = nn.ModuleList(
            TinyViTStage(encoder, i) for i in range(len(encoder.dims))
        )
        self.neck = make_neck(
            sum(encoder.dims[i] for i in encoder.neck_stages), config.prompt_dim
        )
        self.fine = None
        if encoder.lateral_channels:
            self.fine = FeaturePyramid(
                config.prompt_dim,
                (encoder.dims[0], encoder.dims[0] // 2),
                encoder.lateral_channels,
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the image embedding, (B, embedding_channels, E, E)."""
        x, stem = self.patch_embed(x)
        outputs = []
        for stage in self.layers:
            assert isinstance(stage, TinyViTStage)
            x = stage(x)
            outputs.append(x)
            if stage.downsample is not None:
                x = stage.downsample(x)
        size = (self.config.embedding_size,) * 2
        chosen = [
            y
            if tuple(y.shape[2:]) == size
            else functional.interpolate(y, size, mode="bilinear", align_corners=False)
            for y in (outputs[i] for i in self.config.neck_stages)
        ]
        embedding = self.neck(chosen[0] if len(chosen) == 1 else torch.cat(chosen, 1))
        if self.fine is None:
            return embedding
        return self.fine.pack(embedding, self.fine(embedding, outputs[0], stem))
