"""The runtimes give the same masks with the int8 model that comes along."""

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_qmedsam.datasets.modality import PhantomSlices
from napari_qmedsam.evaluation.metrics import dice
from napari_qmedsam.phantoms.random_slices import PhantomKind
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Volume

SLICES = 2
"""Of each kind of phantom."""

LEAST_VOXELS = 100
"""Of an object, as where models are scored; smaller ones are a few pixels wide."""

AGREEMENT = 0.995
"""Mean DSC between the masks of two runtimes."""

Prompts = list[tuple[NDArray[np.uint8], list[Box2D]]]


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    found = []
    for kind in PhantomKind:
        for index in range(SLICES):
            drawn = PhantomSlices(kind, seed=0, held_out=True).read(index)
            values, counts = np.unique(drawn.labels, return_counts=True)
            boxes = [
                Box2D.enclosing(drawn.labels == value)
                for value, count in zip(values, counts, strict=True)
                if value and count >= LEAST_VOXELS
            ]
            found.append((drawn.image, boxes))
    return found


def masks(backend: str, prompts: Prompts) -> list[NDArray[np.bool_]]:
    segmenter = SliceSegmenter(load_backend("demo-qat", backend))
    return [
        mask
        for image, boxes in prompts
        for mask in segmenter.segment_slice(Volume(image[np.newaxis]), 0, boxes)
    ]


@pytest.fixture(scope="module")
def expected(prompts) -> list[NDArray[np.bool_]]:
    return masks("torch", prompts)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_masks_of_the_int8_model_are_those_of_torch(backend, prompts, expected):
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="extra onnx")
    scores = [
        dice(ours, theirs)
        for ours, theirs in zip(masks(backend, prompts), expected, strict=True)
    ]
    assert len(scores) > 30
    assert np.mean(scores) >= AGREEMENT, scores
