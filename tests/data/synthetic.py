"""Synthetic weights and test images, the same bytes on every machine.

Every value comes from raw PCG64 integers and exact IEEE-754 arithmetic, so neither
NumPy's version nor the platform's mathematical library matters.
"""

import math
import zlib

import numpy as np
from numpy.typing import NDArray

TOKENS = ("point_embeddings.", "not_a_point_embed.", "no_mask_embed.")
MASK_TOKENS = ("iou_token.", "mask_tokens.")


def normal(seed: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """About standard normal: the sum of the four quarters of a 64-bit draw."""
    raw = np.random.PCG64(seed).random_raw(math.prod(shape))
    quarters = [(raw >> shift) & 0xFFFF for shift in (0, 16, 32)]
    total = quarters[0] + quarters[1] + quarters[2] + (raw >> 48)
    centred = total.astype(np.float64) - 131070.0
    return (centred * (math.sqrt(3.0) / 65536.0)).reshape(shape)


def fill(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Values of the float tensor `name` of a state dict, of a plausible size."""
    values = normal(zlib.crc32(name.encode()), tuple(shape))
    leaf = name.rsplit(".", 1)[-1]
    if leaf in ("running_mean", "bias", "pos_embed"):
        values = 0.1 * values
    elif leaf == "running_var" or (leaf == "weight" and len(shape) == 1):
        values = 1.0 + 0.1 * values
    elif any(token in name for token in (*TOKENS, *MASK_TOKENS)):
        values = 0.5 * values
    elif leaf not in ("attention_biases", "positional_encoding_gaussian_matrix"):
        gain = 1.0 if shape[1] == 1 else 1.25
        values = values * (gain / math.sqrt(math.prod(shape[1:])))
    return values.astype(np.float32)


def image(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Return a (h, w) or (h, w, 3) image: a gradient, soft ellipses, a patch, noise."""
    height, width = shape[:2]
    channels = shape[2] if len(shape) == 3 else 1
    y = np.arange(height)[:, None, None] / height
    x = np.arange(width)[None, :, None] / width
    values = 70.0 + 40.0 * x + 25.0 * y * np.arange(1, channels + 1)
    for cx, cy, rx, ry, *amplitude in normal(seed, (8, 7)):
        distance = ((x - 0.5 - 0.2 * cx) / (0.15 + 0.03 * rx)) ** 2 + (
            (y - 0.5 - 0.2 * cy) / (0.15 + 0.03 * ry)
        ) ** 2
        bump = np.maximum(0.0, 1.0 - distance * distance)
        values = values + 45.0 * np.array(amplitude[:channels]) * bump
    values[height // 8 : height // 4, width // 8 : width // 3] = 150.0
    values = values + 2.5 * normal(seed + 1, (height, width, channels))
    return np.floor(np.clip(values, 9.0, 246.0) + 0.5).astype(np.uint8).reshape(shape)
