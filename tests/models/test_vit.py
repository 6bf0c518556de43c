"""ViT encoder against loops that spell out what each step means."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from napari_qmedsam.models.configuration import (
    ModelConfig,
    PreprocessingKind,
    ViTConfig,
)
from napari_qmedsam.models.layers import join_windows, split_windows
from napari_qmedsam.models.vit import RelativeAttention, ViT

SMALL = ModelConfig(
    name="small",
    input_size=20,
    preprocessing=PreprocessingKind.SQUARE,
    encoder=ViTConfig(
        dim=8, depth=2, heads=2, patch=4, window=3, global_blocks=(1,), embedding_size=5
    ),
    prompt_dim=6,
)
"""A windowed block, its windows padded from 5 to 6, then a global one."""

Weights = dict[str, np.ndarray]


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(7)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return module.eval()


def weights_of(module: torch.nn.Module) -> Weights:
    return {k: v.double().numpy() for k, v in module.state_dict().items()}


def under(weights: Weights, prefix: str) -> Weights:
    return {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}


def normalised(x: np.ndarray, w: Weights) -> np.ndarray:
    """Over the last axis, eps 1e-6."""
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / deviation * w["weight"] + w["bias"]


def attention(x: np.ndarray, w: Weights, heads: int) -> np.ndarray:
    """One query, one key, one head at a time; x is (s, s, dim)."""
    size, dim = len(x), x.shape[-1]
    head_dim = dim // heads
    qkv = x @ w["qkv.weight"].T + w["qkv.bias"]
    places = [(y, x) for y in range(size) for x in range(size)]
    output = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * head_dim, (head + 1) * head_dim)
        q, k, v = (qkv[..., i * dim : (i + 1) * dim][..., part] for i in range(3))
        for y, x in places:
            scores = []
            for key_y, key_x in places:
                score = q[y, x] @ k[key_y, key_x] / math.sqrt(head_dim)
                score += q[y, x] @ w["rel_pos_h"][y - key_y + size - 1]
                score += q[y, x] @ w["rel_pos_w"][x - key_x + size - 1]
                scores.append(score)
            share = np.exp(np.array(scores) - max(scores))
            share /= share.sum()
            total = sum(s * v[place] for s, place in zip(share, places, strict=True))
            output[y, x, part] = total
    return output @ w["proj.weight"].T + w["proj.bias"]


def block(x: np.ndarray, w: Weights, heads: int, window: int) -> np.ndarray:
    size = len(x)
    y = normalised(x, under(w, "norm1."))
    attend = under(w, "attn.")
    if window:
        padded = np.zeros((6, 6, x.shape[-1]))
        padded[:size, :size] = y
        for top in range(0, 6, window):
            for left in range(0, 6, window):
                area = np.s_[top : top + window, left : left + window]
                padded[area] = attention(padded[area], attend, heads)
        y = padded[:size, :size]
    else:
        y = attention(y, attend, heads)
    x = x + y
    hidden = normalised(x, under(w, "norm2.")) @ w["mlp.lin1.weight"].T
    hidden = hidden + w["mlp.lin1.bias"]
    hidden = hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2
    return x + hidden @ w["mlp.lin2.weight"].T + w["mlp.lin2.bias"]


def encoder(image: np.ndarray, w: Weights) -> np.ndarray:
    """(3, 20, 20) to (6, 5, 5)."""
    x = np.zeros((5, 5, 8))
    for row in range(5):
        for column in range(5):
            patch = image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            for channel in range(8):
                kernel = w["patch_embed.proj.weight"][channel]
                x[row, column, channel] = (kernel * patch).sum()
    x += w["patch_embed.proj.bias"] + w["pos_embed"][0]
    x = block(x, under(w, "blocks.0."), heads=2, window=3)
    x = block(x, under(w, "blocks.1."), heads=2, window=0)
    x = normalised(x @ w["neck.0.weight"][:, :, 0, 0].T, under(w, "neck.1."))
    around = np.zeros((7, 7, 6))
    around[1:6, 1:6] = x
    y = np.zeros((5, 5, 6))
    for row in range(5):
        for column in range(5):
            area = around[row : row + 3, column : column + 3]  # (3, 3, in)
            y[row, column] = np.einsum("yxi,oiyx->o", area, w["neck.2.weight"])
    return normalised(y, under(w, "neck.3.")).transpose(2, 0, 1)


@pytest.mark.parametrize(("size", "heads"), [(3, 1), (4, 2)])
def test_attention_adds_the_unscaled_queries_relative_positions(size, heads):
    layer = randomised(RelativeAttention(8, heads, size))
    x = torch.randn(2, size, size, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = layer(x).numpy()
    for one, given in zip(ours, x.double().numpy(), strict=True):
        expected = attention(given, weights_of(layer), heads)
        np.testing.assert_allclose(one, expected, atol=2e-5)


def test_encoder_computes_what_the_loops_compute():
    model = randomised(ViT(SMALL))
    image = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours = model(image).numpy()
    for one, given in zip(ours, image.double().numpy(), strict=True):
        np.testing.assert_allclose(one, encoder(given, weights_of(model)), atol=1e-4)


@pytest.mark.parametrize(("height", "width", "window"), [(4, 6, 2), (5, 7, 3)])
def test_windows_are_cut_row_by_row_and_padded_below_and_right(height, width, window):
    x = torch.arange(1.0, 2 * height * width + 1).view(2, height, width, 1)
    windows, padded = split_windows(x, window)
    rows, columns = -(-height // window), -(-width // window)
    assert padded == (rows * window, columns * window)
    assert windows.shape == (2 * rows * columns, window, window, 1)
    index = 0
    for image in x:
        for top in range(0, rows * window, window):
            for left in range(0, columns * window, window):
                area = image[top : top + window, left : left + window]
                h, w = area.shape[:2]
                assert torch.equal(windows[index, :h, :w], area)
                assert windows[index].sum() == area.sum()  # the rest is zero
                index += 1
    assert torch.equal(join_windows(windows, window, padded, (height, width)), x)


SLOW_RUN = """
import resource, sys, time, torch
from napari_qmedsam.models import build_model
model = build_model("medsam_vit_b")
with torch.inference_mode():
    embedding = model.image_encoder(torch.rand(1, 3, 1024, 1024))
    logits, iou = model.decode(embedding, torch.tensor([[100.0, 200, 500, 700]] * 3))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peak *= 1 if sys.platform == "darwin" else 1024
print(*embedding.shape, *logits.shape, bool(logits.isfinite().all()), peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module on Windows")
def test_medsam_vit_b_gives_its_shapes_in_under_six_gigabytes():
    result = subprocess.run(
        [sys.executable, "-c", SLOW_RUN], capture_output=True, text=True, check=True
    )
    *shapes, finite, peak = result.stdout.split()
    assert [int(n) for n in shapes] == [1, 256, 64, 64, 3, 1, 256, 256]
    assert finite == "True"
    assert int(peak) < 6e9
