"""The image of one object in the split decoder, which is never written out."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_qmedsam.models.mask_decoder import TwoWayBlock


def centred(x: Tensor) -> Tensor:
    """Take off the mean over the last axis."""
    return x - x.mean(dim=-1, keepdim=True)


def by_head(x: Tensor, heads: int) -> Tensor:
    """(B, n, heads * d) to (B, heads, n, d)."""
    return x.unflatten(-1, (heads, x.shape[-1] // heads)).transpose(1, 2)


def as_keys(x: Tensor, heads: int) -> Tensor:
    """(B, n, heads * d) to (B, heads, d, n)."""
    return by_head(x, heads).transpose(-2, -1)


class LowRankImage:
    """The image of each object: `scale * shared + rows^T vectors`, and a shift.

    `low_rank` are the rows, (B, r, N), and the vectors, (B, r, dim): those that no
    prompt changes first, then those that came of the blocks so far. A box that is
    drawn gives the first.
    """

    def __init__(self, drawn: tuple[Tensor, Tensor] | None) -> None:
        self.scale: Tensor | None = None
        self.low_rank = drawn
        self.moving: list[Tensor] = []  # vectors of each block, (B, heads * T, dim)
        self.mixed: list[Tensor] = []  # values of each block, (B, heads, T, d)

    def scores(
        self, asking: Tensor, shared: Tensor, fixed: Tensor | None, layer: nn.Linear
    ) -> Tensor:
        """Products of tokens with a linear layer of the image.

        (B, heads, T, d) with (1, heads, d, N) twice: (B, heads, T, N).
        """
        asking = asking * asking.shape[-1] ** -0.5
        found = asking @ shared
        if self.scale is not None:
            found = found * self.scale[:, None]
        if fixed is not None:
            found = found + asking @ fixed
        if self.low_rank is not None:
            rows, vectors = self.low_rank
            keys = as_keys(functional.linear(vectors, layer.weight), asking.shape[1])
            low = (asking @ keys).flatten(1, 2) @ rows
            found = found + low.view_as(found)
        return found

    def attend(self, attention: Tensor, shared: Tensor, layer: nn.Linear) -> Tensor:
        """Means of a linear layer of the image, without the layer's bias.

        (B, heads, T, N) with (1, heads, N, d): (B, T, heads * d).
        """
        seen = attention
        if self.scale is not None:
            seen = attention * self.scale[:, None]
        found = seen @ shared
        if self.low_rank is not None:
            rows, vectors = self.low_rank
            values = by_head(functional.linear(vectors, layer.weight), found.shape[1])
            low = attention.flatten(1, 2) @ rows.transpose(1, 2)
            found = found + low.unflatten(1, found.shape[1:3]) @ values
        return found.transpose(1, 2).flatten(2)

    def take(
        self,
        attention: Tensor,
        values: Tensor,
        block: TwoWayBlock,
        fixed: Tensor,
        given: Iterator[Tensor],
    ) -> None:
        """Add what tokens give, (B, heads, T, N) of (B, heads, T, d), and normalize.

        `fixed` are the block's vectors that no prompt changes, and `given` what
        :class:`SliceHalf` says of its normalization.
        """
        layer, norm = block.cross_attn_image_to_token.out_proj, block.norm4
        batch, heads = values.shape[:2]
        is_shifted = self.scale is not None
        parts = [attention.flatten(1, 2)]
        if self.low_rank is not None:
            parts.insert(0, self.low_rank[0])
        if is_shifted:
            parts.insert(0, torch.ones_like(attention[:, 0, :1]))
        rows = torch.cat(parts, dim=1)
        out = layer.weight.T.unflatten(0, (heads, -1))  # (heads, d, dim)
        self.moving.append((values @ out).flatten(1, 2))
        self.moving = [centred(vectors) for vectors in self.moving]
        self.mixed.append(values)
        vectors = self.moving
        square, products = next(given), []
        if len(fixed):
            vectors = [fixed.expand(batch, -1, -1), *vectors]
            products.append(next(given).expand(batch, -1, -1))
        pulls = list(islice(given, len(self.mixed)))[::-1]
        products += [
            (v @ pull).flatten(1, 2) for v, pull in zip(self.mixed, pulls, strict=True)
        ]
        among, with_shared = torch.cat(vectors, dim=1), torch.cat(products, dim=1)
        low = (among @ among.transpose(1, 2)) @ rows
        if self.scale is not None:
            square, with_shared = square * self.scale**2, with_shared * self.scale
        total = square + (rows * (with_shared + low)).sum(dim=1, keepdim=True)
        inverse = (total / among.shape[-1] + norm.eps).rsqrt()
        self.scale = inverse if self.scale is None else self.scale * inverse
        self.low_rank = rows * inverse, among * norm.weight
        self.moving = [moving * norm.weight for moving in self.moving]
