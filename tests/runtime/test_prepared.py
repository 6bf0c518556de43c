"""What is computed once per slice is kept for a few slices."""

import numpy as np

from napari_qmedsam.runtime.prepared import KEPT, PreparedSlices


def test_each_embedding_is_prepared_once_while_it_is_among_the_latest():
    asked = []
    slices = PreparedSlices(lambda embedding: asked.append(embedding[0]) or embedding)
    embeddings = [np.full(1, i) for i in range(KEPT + 1)]
    for embedding in [*embeddings[:KEPT], embeddings[0]]:
        assert slices.of(embedding) is embedding
    assert asked == list(range(KEPT))
    slices.of(embeddings[KEPT])  # the second goes, which was asked for longest ago
    slices.of(embeddings[0])
    slices.of(embeddings[1])
    assert asked == [*range(KEPT + 1), 1]


def test_embeddings_of_equal_values_are_not_mistaken_for_each_other():
    slices = PreparedSlices(id)
    first, second = np.zeros(2), np.zeros(2)
    assert slices.of(first) == id(first)
    assert slices.of(second) == id(second)
