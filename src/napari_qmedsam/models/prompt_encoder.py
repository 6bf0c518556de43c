"""Prompt encoder: boxes, points and masks to embeddings (Kirillov et al., SAM)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.models.layers import LayerNorm2d

NOT_A_POINT, BACKGROUND, FOREGROUND = -1, 0, 1
"""Point labels of the official models."""


class FourierPositions(nn.Module):
    """Random Fourier features of positions in the unit square.

    The matrix is random, so it is part of every checkpoint.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer(
            "positional_encoding_gaussian_matrix", torch.randn(2, dim // 2)
        )

    def forward(self, positions: Tensor) -> Tensor:
        """Encode positions (..., 2) as (x, y) in [0, 1]: (..., dim)."""
        matrix = self.positional_encoding_gaussian_matrix
        angles = (2 * positions - 1).to(matrix.dtype) @ matrix * (2 * math.pi)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def grid(self, size: int) -> Tensor:
        """Encode the centres of a (size, size) grid: (dim, size, size)."""
        device = self.positional_encoding_gaussian_matrix.device
        centres = (torch.arange(size, device=device) + 0.5) / size
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self(torch.stack([x, y], dim=-1)).permute(2, 0, 1)


class PromptEncoder(nn.Module):
    """Sparse embeddings of boxes and points, dense embeddings of masks.

    Coordinates are pixels of the model input; 0.5 is added to reach pixel
    centres, as in the official code.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, hidden = config.prompt_dim, config.mask_channels
        self.input_size = config.input_size
        self.embedding_size = config.embedding_size
        self.rasterize_boxes = config.rasterize_boxes
        self.pe_layer = FourierPositions(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, hidden // 4, 2, 2),
            LayerNorm2d(hidden // 4),
            nn.GELU(),
            nn.Conv2d(hidden // 4, hidden, 2, 2),
            LayerNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, dim, 1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def get_dense_pe(self) -> Tensor:
        """Positional encoding of the embedding's grid: (1, dim, E, E)."""
        return self.pe_layer.grid(self.embedding_size)[None]

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode the prompts of B objects.

        Parameters
        ----------
        points : (Tensor (B, N, 2), Tensor (B, N)), optional
            Positions (x, y) and labels: 1 foreground, 0 background.
        boxes : Tensor (B, 4), optional
            Corner pixels (x_min, y_min, x_max, y_max).
        masks : Tensor (B, 1, 4E, 4E), optional
            Low-res logits of an earlier prediction.

        Returns
        -------
        sparse : Tensor (B, tokens, dim)
        dense : Tensor (B, dim, E, E)
        """
        sparse = self.sparse(points, boxes)
        if boxes is not None and masks is None and self.rasterize_boxes:
            masks = self.draw_boxes(boxes)
        given = (boxes, points[0] if points is not None else None, masks)
        batch = next(prompt.shape[0] for prompt in given if prompt is not None)
        if masks is not None:
            dense = self.mask_downscaling(masks)
        else:
            size = self.embedding_size
            dense = self.no_mask_embed.weight.reshape(1, -1, 1, 1)
            dense = dense.expand(batch, -1, size, size)
        if sparse is None:
            sparse = dense.new_zeros(batch, 0, dense.shape[1])
        return sparse, dense

    def sparse(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None
    ) -> Tensor | None:
        """Encode points and boxes as (B, tokens, dim); None without either."""
        parts = []
        if points is not None:
            parts.append(self._encode_points(*points, pad=boxes is None))
        if boxes is not None:
            parts.append(self._encode_boxes(boxes))
        return torch.cat(parts, dim=1) if parts else None

    def draw_boxes(self, boxes: Tensor) -> Tensor:
        """Boxes as masks, -1 outside and 1 inside, area-weighted at the edge.

        (B, 4) to (B, 1, 4E, 4E).
        """
        size = 4 * self.embedding_size
        edges = torch.arange(size + 1, device=boxes.device, dtype=boxes.dtype)
        edges = edges * (self.input_size / size)
        step = self.input_size / size

        def coverage(lower: Tensor, upper: Tensor) -> Tensor:
            right = torch.minimum(edges[1:], upper[:, None])
            left = torch.maximum(edges[:-1], lower[:, None])
            return functional.relu(right - left) / step  # (B, size)

        inside_x = coverage(boxes[:, 0], boxes[:, 2] + 1)
        inside_y = coverage(boxes[:, 1], boxes[:, 3] + 1)
        drawn = inside_y[:, :, None] * inside_x[:, None, :]
        return (2 * drawn - 1)[:, None]

    def _encode_points(self, positions: Tensor, labels: Tensor, pad: bool) -> Tensor:
        positions = positions + 0.5
        if pad:
            positions = functional.pad(positions, (0, 0, 0, 1))
            labels = functional.pad(labels, (0, 1), value=NOT_A_POINT)
        encoded = self.pe_layer(positions / self.input_size)
        label = labels[..., None]
        encoded = torch.where(label == NOT_A_POINT, torch.zeros_like(encoded), encoded)
        encoded = encoded + (label == NOT_A_POINT) * self.not_a_point_embed.weight
        encoded = encoded + (label == BACKGROUND) * self._kind(0)
        return encoded + (label == FOREGROUND) * self._kind(1)

    def _encode_boxes(self, boxes: Tensor) -> Tensor:
        corners = (boxes + 0.5).reshape(-1, 2, 2) / self.input_size
        return self.pe_layer(corners) + torch.cat([self._kind(2), self._kind(3)])

    def _kind(self, index: int) -> Tensor:
        """Embedding (1, dim): background, foreground, first corner, last corner."""
        embedding = self.point_embeddings[index]
        assert isinstance(embedding, nn.Embedding)
        return embedding.weight
