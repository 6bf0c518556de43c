"""Slices are encoded ahead, the nearest first, as far as there is room."""

import numpy as np
import pytest

from napari_qmedsam.cancelling import cancellable
from napari_qmedsam.errors import Cancelled
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.encoding_ahead import encode_ahead, outward
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.windows import Window

FULL = Window(0, 255)


@pytest.fixture
def volume(bright_volume):
    """Six slices, no two alike but the last, which is of one value."""
    truth = np.zeros((6, 32, 32), bool)
    for i in range(5):
        truth[i, 5 : 10 + i, 5:20] = True
    made = bright_volume(truth)
    made.array[5] = 20
    return made


def test_outward_begins_where_it_is_told_and_leaves_nothing_out():
    assert outward(2, 6) == [2, 3, 1, 4, 0, 5]
    assert outward(0, 3) == [0, 1, 2]


def test_slices_are_encoded_outward_once_and_blank_ones_never(new_backend, volume):
    segmenter = SliceSegmenter(new_backend())
    segmenter.embed(volume, 3, FULL)
    assert list(encode_ahead(segmenter, volume, FULL, 2)) == [2, 1, 4, 0]
    assert list(encode_ahead(segmenter, volume, FULL, 2)) == []
    assert len(segmenter.backend.encoded) == 5
    assert not segmenter.is_encoded(volume, 2, Window(0, 99))


def test_it_ends_where_the_next_would_push_a_nearer_one_out(new_backend, volume):
    backend = new_backend()
    _, one = SliceSegmenter(backend).embed(volume, 0, FULL)
    store = EmbeddingStore(memory_limit=3 * one.nbytes)
    segmenter = SliceSegmenter(backend, store)
    assert list(encode_ahead(segmenter, volume, FULL, 1)) == [1, 2, 0]
    assert all(segmenter.is_encoded(volume, i, FULL) for i in (0, 1, 2))


def test_it_stops_when_nobody_wants_it_any_more(new_backend, volume):
    segmenter, done = SliceSegmenter(new_backend()), []

    def encode():
        for slice_index in encode_ahead(segmenter, volume, FULL, 0):
            done.append(slice_index)

    with cancellable(lambda: len(done) == 2), pytest.raises(Cancelled):
        encode()
    assert done == [0, 1]


def test_a_slice_made_ready_is_encoded_and_decoded_once_and_a_blank_one_never(
    new_backend, volume, monkeypatch
):
    segmenter, decoded = SliceSegmenter(new_backend()), []
    decode = segmenter.backend.decode

    def counted(embedding, boxes):
        decoded.append(embedding)
        return decode(embedding, boxes)

    monkeypatch.setattr(segmenter.backend, "decode", counted)
    segmenter.make_ready(volume, 5, FULL)
    assert not segmenter.backend.encoded
    segmenter.make_ready(volume, 2, FULL)
    (embedding,) = decoded
    # The very object: decoders know what they keep by it.
    assert embedding is segmenter.embed(volume, 2, FULL)[1]
    assert segmenter.milliseconds[1] is None
