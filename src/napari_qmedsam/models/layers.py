"""Layers that encoders and decoder share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W)."""

    eps = 1e-6

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; shape and memory order stay.

        Rows and columns are one axis meanwhile: OpenVINO would move a transposition
        of four axes behind the normalisation, take that apart, and copy twice.
        """
        c, h, w = x.shape[1:]
        x = x.permute(0, 2, 3, 1).reshape(-1, h * w, c)
        x = functional.layer_norm(
            x, self.weight.shape, self.weight, self.bias, self.eps
        )
        return x.reshape(-1, h, w, c).permute(0, 3, 1, 2)


class MLP(nn.Module):
    """Linear layers with ReLU between them (heads of the mask decoder)."""

    def __init__(self, in_dim: int, hidden: int, out_dim: int, depth: int) -> None:
        super().__init__()
        dims = [in_dim, *[hidden] * (depth - 1), out_dim]
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(dims, dims[1:], strict=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_dim) to (..., out_dim)."""
        for layer in self.layers[:-1]:
            x = functional.relu(layer(x))
        return self.layers[-1](x)


class TransformerFeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(
        self, dim: int, hidden: int, activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to the same shape."""
        return self.lin2(self.activation(self.lin1(x)))


def make_neck(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 and 3x3 convolution, each normalised: the end of both encoders."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    )


def split_windows(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut (B, H, W, C) into windows, zero-padded below and right.

    Returns
    -------
    Tensor, (B * windows, window, window, C)
    tuple of int
        Padded height and width, for :func:`join_windows`.
    """
    b, h, w, c = x.shape
    pad_h, pad_w = -h % window, -w % window
    if pad_h or pad_w:
        x = functional.pad(x, (0, 0, 0, pad_w, 0, pad_h))
    rows, columns = (h + pad_h) // window, (w + pad_w) // window
    x = x.view(b, rows, window, columns, window, c).transpose(2, 3)
    return x.reshape(-1, window, window, c), (h + pad_h, w + pad_w)


def join_windows(
    windows: Tensor, window: int, padded: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Undo :func:`split_windows`, padding cut off: (B, H, W, C)."""
    rows, columns = padded[0] // window, padded[1] // window
    c = windows.shape[-1]
    x = windows.view(-1, rows, columns, window, window, c).transpose(2, 3)
    x = x.reshape(-1, padded[0], padded[1], c)
    return x[:, : size[0], : size[1]].contiguous()
