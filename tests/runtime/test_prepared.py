"""What is computed once per slice is kept for a few slices."""

import gc
import weakref

import numpy as np
import pytest

from napari_qmedsam.runtime import load_backend
from napari_qmedsam.runtime.prepared import KEPT, PreparedSlices


def test_each_embedding_is_prepared_once_while_it_is_among_the_latest():
    asked = []
    slices = PreparedSlices()

    def prepare(embedding):
        asked.append(embedding[0])
        return embedding

    embeddings = [np.full(1, i) for i in range(KEPT + 1)]
    for embedding in [*embeddings[:KEPT], embeddings[0]]:
        assert slices.of(embedding, prepare) is embedding
    assert asked == list(range(KEPT))
    slices.of(embeddings[KEPT], prepare)  # the second goes, asked for longest ago
    slices.of(embeddings[0], prepare)
    slices.of(embeddings[1], prepare)
    assert asked == [*range(KEPT + 1), 1]


def test_embeddings_of_equal_values_are_not_mistaken_for_each_other():
    slices = PreparedSlices()
    first, second = np.zeros(2), np.zeros(2)
    assert slices.of(first, id) == id(first)
    assert slices.of(second, id) == id(second)


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_a_backend_goes_with_its_last_name(user_folders, runtime):
    """It is no part of a cycle, which the interface's thread might take down."""
    backend = load_backend("demo", runtime)
    size = backend.config.input_size
    embedding = backend.encode(np.zeros((3, size, size), np.float32))
    backend.decode(embedding, np.array([[8, 8, 90, 90]], np.float32))
    gone = weakref.ref(backend)
    gc.disable()
    try:
        del backend
        assert gone() is None
    finally:
        gc.enable()
