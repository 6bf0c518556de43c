"""The model that ships as the default: it segments, forgives, and takes clicks."""

import numpy as np
import pytest

from napari_qmedsam.overlap import dice
from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.preprocessing import SliceGeometry, slice_image
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.volumes import Modality

SLICE, LEAST = 30, 400
"""Of a phantom that no training has seen; pixels of an object."""

MOVED = 5
"""Pixels of the model input by which each side of a box is off, in or out."""


@pytest.fixture(scope="module")
def scores():
    """DSC of objects by tight boxes, moved ones, and these with a click."""
    case = abdomen_case(Modality.CT, 2)
    labels = case.labels.array
    backend = load_backend("qmedsam_lite", "torch")
    geometry = SliceGeometry.of(backend.config, *labels.shape[1:])
    image = slice_image(case.volume.array, SLICE, case.volume.default_window())
    embedding = backend.encode(geometry.prepare(image))
    truths = [labels[SLICE] == value for value in np.unique(labels[SLICE])[1:]]
    truths = [truth for truth in truths if truth.sum() >= LEAST]
    scale = 256 / max(labels.shape[1:])
    tight = np.array([box_of(truth) for truth in truths], np.float32) * scale
    middles = [np.argwhere(t)[len(np.argwhere(t)) // 2][::-1] * scale for t in truths]
    clicks = (
        np.array(middles, np.float32)[:, None],
        np.ones((len(truths), 1), np.float32),
    )

    def score(boxes, points=None):
        logits = backend.decode(embedding, boxes.round(), points)
        masks = geometry.logits_to_masks(logits)
        return [dice(m, t) for m, t in zip(masks, truths, strict=True)]

    off = tight + MOVED * np.random.default_rng(0).choice([-1, 1], tight.shape)
    off = off.astype(np.float32)
    return score(tight), score(off), score(off, clicks)


def box_of(truth):
    x, y = np.flatnonzero(truth.any(0)), np.flatnonzero(truth.any(1))
    return x[0], y[0], x[-1], y[-1]


def test_tight_boxes_give_the_objects(scores):
    assert min(scores[0]) > 0.85
    assert np.mean(scores[0]) > 0.92


def test_boxes_a_few_pixels_off_give_nearly_the_same(scores):
    assert np.mean(scores[1]) > np.mean(scores[0]) - 0.05


def test_a_click_in_the_object_wrecks_no_mask(scores):
    assert all(after > before - 0.05 for before, after in zip(*scores[1:], strict=True))
