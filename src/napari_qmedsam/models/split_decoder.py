"""The decoder of float models in two halves: once per slice, and per prompt.

What the transformer does to the image is of low rank: every block adds to each
position a mix of a few vectors, one for each head and token, and normalizes. So
the image of one object is never written out. It is held as

    scale * shared + rows^T vectors + shift

with `shared` (N, dim) the same for all objects of a slice, `scale` (N) one number for
each position, `rows` (r, N) shares of the positions in the vectors, `vectors` (r, dim)
and `shift` (dim). A linear layer of it is one of `shared`, computed once per slice
(:class:`SliceHalf`), and one of r vectors, computed per object (:class:`PromptHalf`).
Layer normalization takes the mean off both factors; its variance follows from the
products of the vectors with `shared` and with each other.

Masks are those of :class:`~napari_qmedsam.models.mask_decoder.MaskDecoder`, but for
the order of sums. Models that round their activations cannot be split: they round
what is never written out here.
"""

from itertools import islice, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_qmedsam.models.feature_pyramid import split_features
from napari_qmedsam.models.layers import LayerNorm2d
from napari_qmedsam.models.low_rank_image import LowRankImage, as_keys, by_head, centred
from napari_qmedsam.models.mask_decoder import MaskDecoder, TwoWayBlock
from napari_qmedsam.models.medsam import MedSAM


class SliceHalf(nn.Module):
    """What the decoder computes of an embedding, whatever it is asked."""

    def __init__(self, model: MedSAM) -> None:
        super().__init__()
        self.model = model
        _keep(self, "vectors", fixed_vectors(model))

    def forward(self, image_embedding: Tensor) -> tuple[Tensor, ...]:
        """(1, embedding_channels, E, E) to the inputs of :class:`PromptHalf`.

        For each block: keys, values and queries of `shared` by head, its square, and
        twice its products with the vectors that no prompt changes and with those of
        each block so far. Then keys and values of the last look, `shared` after the
        first upscaling, and the fine features.
        """
        decoder, prompts = self.model.mask_decoder, self.model.prompt_encoder
        transformer, blocks = decoder.transformer, blocks_of(self.model)
        embedding, *fine = split_features(image_embedding, decoder.dim, decoder.lateral)
        if prompts.rasterize_boxes:
            dense = prompts.mask_downscaling[-1].bias
            assert isinstance(dense, Tensor)
        else:
            dense = prompts.no_mask_embed.weight
        shared = embedding.flatten(2).transpose(1, 2) + dense.view(1, 1, -1)
        found: list[Tensor] = []
        for i, block in enumerate(blocks):
            look = block.cross_attn_token_to_image
            back = block.cross_attn_image_to_token
            if i == 0:
                keyed = shared + prompts.get_dense_pe().flatten(2).transpose(1, 2)
                keys, queries = look.k_proj(keyed), back.q_proj(keyed)
            else:
                keys = functional.linear(shared, look.k_proj.weight)
                queries = functional.linear(shared, back.q_proj.weight)
            values = functional.linear(shared, look.v_proj.weight)
            found.append(as_keys(keys, look.heads))
            found.append(by_head(values, look.heads))
            found.append(as_keys(queries, back.heads))
            if i == 0:
                shared = shared + back.out_proj.bias
            shared = centred(shared)
            found.append(shared.square().sum(dim=-1)[:, None])
            vectors = getattr(self, f"vectors{i}")
            if len(vectors):
                found.append(2 * vectors @ shared.transpose(1, 2))
            pulled = 2 * shared
            for j in range(i, -1, -1):
                earlier = blocks[j].cross_attn_image_to_token
                found.append(as_keys(pulled @ earlier.out_proj.weight, earlier.heads))
                if j:
                    pulled = centred(pulled * blocks[j - 1].norm4.weight)
            shared = shared * block.norm4.weight
        last = transformer.final_attn_token_to_image
        found.append(as_keys(functional.linear(shared, last.k_proj.weight), last.heads))
        found.append(by_head(functional.linear(shared, last.v_proj.weight), last.heads))
        found.append(functional.linear(shared, upscaling(decoder)[0]))
        return (*found, *fine)


class PromptHalf(nn.Module):
    """What the decoder computes for each object, from :class:`SliceHalf`'s results."""

    def __init__(self, model: MedSAM) -> None:
        super().__init__()
        self.model = model
        _keep(self, "vectors", fixed_vectors(model))
        _keep(self, "keys", fixed_keys(model))

    def forward(
        self,
        prepared: tuple[Tensor, ...],
        boxes: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """(B, 4) boxes, perhaps (B, n, 2) and (B, n) points: (B, 4E, 4E) logits."""
        decoder, prompts = self.model.mask_decoder, self.model.prompt_encoder
        transformer, blocks = decoder.transformer, blocks_of(self.model)
        given = iter(prepared)
        sparse = prompts.sparse(points, boxes)
        assert sparse is not None
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        own = own[None].expand(sparse.shape[0], -1, -1)
        token_pe = tokens = torch.cat([own, sparse], dim=1)
        drawn = None
        if prompts.rasterize_boxes:
            small = prompts.mask_downscaling[:-1](prompts.draw_boxes(boxes))
            drawn = small.flatten(2), drawn_vectors(self.model)[None]
        image = LowRankImage(drawn)
        before: nn.LayerNorm | None = None
        for i, block in enumerate(blocks):
            look = block.cross_attn_token_to_image
            back = block.cross_attn_image_to_token
            keys, values, queries = islice(given, 3)
            fixed_k, fixed_q = (
                getattr(self, f"keys{2 * i - 2 + n}") if i else None for n in (0, 1)
            )
            tokens = block.among_tokens(tokens, token_pe)
            asking = by_head(look.q_proj(tokens + token_pe), look.heads)
            attention = image.scores(asking, keys, fixed_k, look.k_proj).softmax(-1)
            seen = image.attend(attention, values, look.v_proj)
            seen = look.out_proj(seen + _bias(look.v_proj, before))
            tokens = block.after_cross_attention(tokens, seen)
            told = by_head(back.k_proj(tokens + token_pe), back.heads)
            attention = image.scores(told, queries, fixed_q, back.q_proj).softmax(2)
            told = by_head(back.v_proj(tokens), back.heads)
            fixed = getattr(self, f"vectors{i}")
            image.take(attention, told, block, fixed, given)
            before = block.norm4
        last = transformer.final_attn_token_to_image
        keys, values, upscaled, *fine = given
        asking = by_head(last.q_proj(tokens + token_pe), last.heads)
        fixed_k = getattr(self, f"keys{2 * len(blocks) - 2}")
        attention = image.scores(asking, keys, fixed_k, last.k_proj).softmax(-1)
        seen = image.attend(attention, values, last.v_proj)
        seen = last.out_proj(seen + _bias(last.v_proj, before))
        tokens = transformer.norm_final_attn(tokens + seen)
        weights = decoder.output_hypernetworks_mlps[0](tokens[:, 1])  # (B, dim / 8)
        matrix, bias = upscaling(decoder)
        shifted = functional.linear(blocks[-1].norm4.bias, matrix, bias)
        assert image.scale is not None
        assert image.low_rank is not None
        rows, vectors = image.low_rank
        features = image.scale.transpose(1, 2) * upscaled + shifted
        low = functional.linear(vectors, matrix)
        features = features + rows.transpose(1, 2) @ low  # (B, N, 4 * c)
        return draw(decoder, features, weights, fine)


def upscaling(decoder: MaskDecoder) -> tuple[Tensor, Tensor]:
    """Return the first upscaling as a matrix (4 * c, dim) and a bias (4 * c)."""
    first = decoder.output_upscaling[0]
    assert isinstance(first, nn.ConvTranspose2d)
    assert first.bias is not None
    return first.weight.permute(2, 3, 1, 0).flatten(0, 2), first.bias.repeat(4)


def fixed_vectors(model: MedSAM) -> list[Tensor]:
    """Return what of each block's vectors no prompt changes, as its norm finds it.

    (m, dim) each, without means: the shifts that went before, then those that a
    drawn box is a mix of.
    """
    vectors, found = drawn_vectors(model), []
    before: nn.LayerNorm | None = None
    for block in blocks_of(model):
        if before is not None:
            shift = before.bias + block.cross_attn_image_to_token.out_proj.bias
            vectors = torch.cat([shift[None], vectors * before.weight])
        vectors = centred(vectors)
        found.append(vectors)
        before = block.norm4
    return found


def drawn_vectors(model: MedSAM) -> Tensor:
    """Return the vectors that the image of a drawn box is a mix of, (m, dim)."""
    prompts = model.prompt_encoder
    last = prompts.mask_downscaling[-1]
    assert isinstance(last, nn.Conv2d)
    weight = last.weight.flatten(1).T
    return weight if prompts.rasterize_boxes else weight[:0]


def fixed_keys(model: MedSAM) -> list[Tensor]:
    """Return what positions and shifts give as keys of each look behind the first.

    (1, heads, d, N) each: of the tokens' look at the image and of the image's look
    at the tokens by turns, block by block.
    """
    transformer, blocks = model.mask_decoder.transformer, blocks_of(model)
    positions = model.prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
    found = []
    for before, block in pairwise(blocks):
        shifted = positions + before.norm4.bias
        look = block.cross_attn_token_to_image
        back = block.cross_attn_image_to_token
        found.append(as_keys(look.k_proj(shifted), look.heads))
        found.append(as_keys(back.q_proj(shifted), back.heads))
    last = transformer.final_attn_token_to_image
    found.append(as_keys(last.k_proj(positions + blocks[-1].norm4.bias), last.heads))
    return found


def blocks_of(model: MedSAM) -> list[TwoWayBlock]:
    """Return the blocks of the decoder's transformer."""
    return [
        block
        for block in model.mask_decoder.transformer.layers
        if isinstance(block, TwoWayBlock)
    ]


def _bias(layer: nn.Linear, before: nn.LayerNorm | None) -> Tensor:
    """Return what a layer adds of itself and of the shift before it."""
    if before is None:
        return layer.bias
    return layer(before.bias)


def _keep(module: nn.Module, name: str, values: list[Tensor]) -> None:
    for i, value in enumerate(values):
        module.register_buffer(f"{name}{i}", value.detach(), persistent=False)


def draw(
    decoder: MaskDecoder, features: Tensor, weights: Tensor, fine: list[Tensor]
) -> Tensor:
    """Upscale twice and multiply with the weights of each object.

    Where no convolution looks around, pixels stay where they are in memory until
    there is one number of each.

    Parameters
    ----------
    decoder : MaskDecoder
    features : Tensor, (B, N, 4 * c)
        After the first upscaling, in the order of :func:`upscaling`.
    weights : Tensor, (B, c / 2)
    fine : list of Tensor
        Empty, or (1, c, 2E, 2E) and (1, c / 2, 4E, 4E).

    Returns
    -------
    Tensor, (B, 4E, 4E)
        Low-res logits.
    """
    size = int(features.shape[1] ** 0.5)
    _, norm, act, second, _ = decoder.output_upscaling
    assert isinstance(norm, LayerNorm2d)
    assert isinstance(second, nn.ConvTranspose2d)
    assert second.bias is not None
    x = features.unflatten(2, (4, -1))
    x = functional.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps)
    if decoder.refine is not None:
        x = x.view(-1, size, size, 2, 2, x.shape[-1])
        x = x.permute(0, 5, 1, 3, 2, 4).reshape(-1, x.shape[-1], 2 * size, 2 * size)
        x = decoder.refined(x, fine)
        return (weights[:, None] @ x.flatten(2)).view(-1, 4 * size, 4 * size)
    matrix = second.weight.permute(2, 3, 1, 0).flatten(0, 2)
    x = functional.linear(act(x), matrix, second.bias.repeat(4))
    x = x.unflatten(-1, (4, -1))
    x = act(x).flatten(1, -2) @ weights[:, :, None]
    x = x.view(-1, size, size, 2, 2, 2, 2)  # y, x, then dy, dx of each upscaling
    x = x.permute(0, 1, 3, 5, 2, 4, 6)
    return x.reshape(-1, 4 * size, 4 * size)
