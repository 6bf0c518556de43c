"""Fine features that travel inside the image embedding (our addition).

The official decoders see the image at the embedding's resolution only. The
demo model's embedding is coarser, so its encoder sends along features at two
and four times that resolution. They are folded into channels, which keeps the
embedding one tensor for every runtime and cache.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class FeaturePyramid(nn.Module):
    """A small feature pyramid (FPN) from the embedding down to the stem.

    As in Lin et al., Feature Pyramid Networks (CVPR 2017): a pathway from the
    coarse embedding to finer maps, joined by lateral 1x1 convolutions of the
    encoder's own features.

    Parameters
    ----------
    dim : int
        Channels of the embedding proper.
    sources : tuple of int
        Channels of the encoder features at 2 and 4 times its resolution.
    channels : tuple of int
        Channels kept at those resolutions.
    """

    def __init__(
        self, dim: int, sources: tuple[int, int], channels: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.dim, self.channels = dim, channels
        wide, narrow = channels
        self.top = nn.Conv2d(dim, wide, 1)
        self.side2 = nn.Conv2d(sources[0], wide, 1)
        self.smooth2 = nn.Conv2d(wide, wide, 3, padding=1)
        self.down = nn.Conv2d(wide, narrow, 1)
        self.side4 = nn.Conv2d(sources[1], narrow, 1)
        self.smooth4 = nn.Conv2d(narrow, narrow, 3, padding=1)

    def forward(self, embedding: Tensor, x2: Tensor, x4: Tensor) -> list[Tensor]:
        """Return features at 2x and 4x: (B, c, 2E, 2E) and (B, c', 4E, 4E)."""
        fine2 = self.side2(x2) + _enlarge(self.top(embedding))
        fine2 = self.smooth2(functional.gelu(fine2))
        fine4 = self.side4(x4) + _enlarge(self.down(functional.gelu(fine2)))
        return [fine2, self.smooth4(functional.gelu(fine4))]

    @staticmethod
    def pack(embedding: Tensor, fine: list[Tensor]) -> Tensor:
        """Fold the fine features into channels behind the embedding's own."""
        folded = [
            functional.pixel_unshuffle(f, 2 ** (i + 1)) for i, f in enumerate(fine)
        ]
        return torch.cat([embedding, *folded], dim=1)


def split_features(packed: Tensor, dim: int, channels: tuple[int, ...]) -> list[Tensor]:
    """Undo :meth:`FeaturePyramid.pack`.

    Returns
    -------
    list of Tensor
        Embedding (B, dim, E, E), then (B, c, 2E, 2E) and (B, c', 4E, 4E).
    """
    counts = [c * 4 ** (i + 1) for i, c in enumerate(channels)]
    embedding, *folded = torch.split(packed, [dim, *counts], dim=1)
    return [
        embedding,
        *(functional.pixel_shuffle(f, 2 ** (i + 1)) for i, f in enumerate(folded)),
    ]


def _enlarge(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
