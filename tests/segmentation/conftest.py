"""A model that marks what is bright inside the box, and counts its work."""

import hashlib

import numpy as np
import pytest

from napari_qmedsam.models.configuration import (
    ModelConfig,
    PreprocessingKind,
    TinyViTConfig,
)
from napari_qmedsam.runtime.protocol import RuntimeInfo
from napari_qmedsam.volumes.volume import Volume

SIDE = 32


class CountingBackend:
    """Its embedding is the image; its mask the bright half inside the box.

    Slices of 32 by 32 pixels go through preprocessing unchanged in size, so
    masks can be told by hand.
    """

    config = ModelConfig(
        name="counting",
        input_size=SIDE,
        preprocessing=PreprocessingKind.PAD,
        encoder=TinyViTConfig(embedding_size=SIDE // 4),
    )

    def __init__(self, weights: str = "0" * 64, name: str = "fake") -> None:
        self.info = RuntimeInfo("counting", name, "fp32", "CPU", weights, 1)
        self.encoded: list[str] = []
        self.decoded: list[int] = []

    def encode(self, model_input):
        self.encoded.append(hashlib.sha256(model_input.tobytes()).hexdigest())
        return model_input[:1][None].copy()

    def decode(self, image_embedding, boxes):
        self.decoded.append(len(boxes))
        y, x = np.mgrid[:SIDE, :SIDE]
        bright = image_embedding[0, 0] > 0.5
        return np.stack(
            [
                np.where(
                    bright & (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1), 4.0, -4.0
                )
                for x0, y0, x1, y1 in boxes
            ]
        ).astype(np.float32)


@pytest.fixture(scope="session")
def new_backend():
    return CountingBackend


@pytest.fixture
def backend():
    return CountingBackend()


@pytest.fixture(scope="session")
def bright_volume():
    """Make a volume whose voxels of `truth` are bright; no two slices are alike."""

    def make(truth: np.ndarray) -> Volume:
        array = np.where(truth, 200, 20).astype(np.uint8)
        for z, plane in enumerate(array):
            plane[-1, z] = 60  # tells the slice from the others, but is not bright
            plane[-1, -1] = 200  # even an empty slice has something bright
        return Volume(array)

    return make
