"""Boxes on one slice: blocks, embeddings that are used again, and their keys."""

import zlib

import numpy as np
import pytest

from napari_qmedsam.errors import InvalidBox, InvalidOutput, InvalidSettings
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.propagation import (
    Follow,
    ObjectPrompt,
    segment_volume,
)
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

FULL = Window(0, 255)


@pytest.fixture
def volume(bright_volume):
    truth = np.zeros((3, 32, 32), bool)
    truth[:, 5:20, 5:20] = True
    return bright_volume(truth)


def many_boxes(count: int) -> list[Box2D]:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 24, (count, 2))
    sizes = rng.integers(1, 8, (count, 2))
    return [
        Box2D(*(float(v) for v in (x, y, x + w, y + h)))
        for (x, y), (w, h) in zip(starts, sizes, strict=True)
    ]


def test_255_boxes_in_blocks_of_32_equal_255_boxes_at_once(new_backend, volume):
    boxes = many_boxes(255)
    blocked, whole = new_backend(), new_backend()
    a = SliceSegmenter(blocked, max_boxes=32).segment_slice(volume, 1, boxes, FULL)
    b = SliceSegmenter(whole, max_boxes=999).segment_slice(volume, 1, boxes, FULL)
    assert blocked.decoded == [32] * 7 + [31]
    assert whole.decoded == [255]
    assert a.shape == (255, 32, 32)
    assert np.array_equal(a, b)
    truth = volume.array[1] == 200
    for mask, box in zip(a, boxes, strict=True):
        rows = slice(int(box.y_min), int(box.y_max))
        columns = slice(int(box.x_min), int(box.x_max))
        expected = np.zeros_like(truth)
        expected[rows, columns] = truth[rows, columns]
        assert np.array_equal(mask, expected)


def test_blocks_change_nothing_for_the_demo_model():
    backend = load_backend("demo")
    embedding = backend.encode(
        np.random.default_rng(0).random((3, 256, 256), np.float32)
    )
    boxes = [(10.0 * i, 5.0, 10.0 * i + 30, 90.0) for i in range(5)]
    whole = SliceSegmenter(backend).decode(embedding, boxes)
    blocked = SliceSegmenter(backend, max_boxes=2).decode(embedding, boxes)
    np.testing.assert_allclose(blocked, whole, atol=1e-4)


@pytest.mark.parametrize("count", [0, -3])
def test_blocks_need_room_for_a_box(backend, count):
    with pytest.raises(InvalidSettings, match="at least 1"):
        SliceSegmenter(backend, max_boxes=count)


def test_no_boxes_give_no_masks(backend, volume):
    masks = SliceSegmenter(backend).segment_slice(volume, 0, [], FULL)
    assert masks.shape == (0, 32, 32)


def test_the_second_box_on_a_slice_costs_only_a_decode(backend, volume):
    segmenter = SliceSegmenter(backend)
    segmenter.segment_slice(volume, 0, [Box2D(0, 0, 9, 9)], FULL)
    segmenter.segment_slice(volume, 0, [Box2D(5, 5, 20, 20)], FULL)
    assert (len(backend.encoded), backend.decoded) == (1, [1, 1])
    segmenter.segment_slice(volume, 1, [Box2D(5, 5, 20, 20)], FULL)
    assert len(backend.encoded) == 2


def test_slices_with_the_same_content_share_an_embedding(backend):
    volume = Volume(np.tile(np.arange(32, dtype=np.uint8), (4, 32, 1)))
    segmenter = SliceSegmenter(backend)
    for z in range(4):
        segmenter.segment_slice(volume, z, [Box2D(0, 0, 9, 9)], FULL)
    assert len(backend.encoded) == 1


def test_content_window_and_model_make_the_key(new_backend, volume):
    store = EmbeddingStore()
    box = [Box2D(5, 5, 20, 20)]
    first = new_backend()
    SliceSegmenter(first, store).segment_slice(volume, 0, box, FULL)
    changed = volume.array.copy()
    changed[0, 0, 0] += 1
    different = {
        "content": (new_backend(), volume.with_array(changed), FULL),
        "window": (new_backend(), volume, Window(0, 300)),
        "weights": (new_backend(weights="1" * 64), volume, FULL),
        "backend": (new_backend(name="other"), volume, FULL),
    }
    for what, (other, its_volume, window) in different.items():
        SliceSegmenter(other, store).segment_slice(its_volume, 0, box, window)
        assert len(other.encoded) == 1, what
    again = new_backend()
    SliceSegmenter(again, store).segment_slice(volume, 0, box, FULL)
    assert again.encoded == []


def test_slices_of_another_shape_have_another_key(backend):
    segmenter = SliceSegmenter(backend)
    flat = np.arange(24, dtype=np.uint8)
    keys = {segmenter.key(flat.reshape(s)) for s in [(4, 6), (6, 4), (2, 12)]}
    assert len(keys) == 3


def test_the_volumes_own_window_is_the_default(backend, volume):
    segmenter = SliceSegmenter(backend)
    box = [Box2D(5, 5, 20, 20)]
    own = segmenter.segment_slice(volume, 0, box)
    given = segmenter.segment_slice(volume, 0, box, volume.default_window())
    assert np.array_equal(own, given)
    assert len(backend.encoded) == 1


@pytest.mark.parametrize("slice_index", [-1, 3])
def test_slices_outside_the_volume_are_refused(backend, volume, slice_index):
    with pytest.raises(InvalidBox, match="outside the volume of 3 slices"):
        SliceSegmenter(backend).segment_slice(
            volume, slice_index, [Box2D(0, 0, 5, 5)], FULL
        )
    assert backend.encoded == []


def test_colour_slices_are_segmented(backend):
    colour = np.zeros((1, 20, 32, 3), np.uint8)
    colour[0, 5:10, 5:10] = 255
    [mask] = SliceSegmenter(backend).segment_slice(
        Volume(colour), 0, [Box2D(0, 0, 32, 20)]
    )
    assert np.array_equal(mask, colour[0, ..., 0] > 0)


# LiteMedSAM against the official inference ---------------------------------


@pytest.fixture(
    scope="module",
    params=["openvino", pytest.param("torch", marks=pytest.mark.slow)],
)
def lite_backend(request, lite_medsam_file):
    return load_backend(str(lite_medsam_file), request.param)


def test_a_session_gives_the_reference_label_map(parity, lite_backend):
    volume = Volume(parity.image("b")[None])
    labels = np.zeros(volume.shape, np.uint8)
    session = Session(volume, SliceSegmenter(lite_backend), FULL, labels)
    for x0, y0, x1, y1 in parity.arrays["b_boxes"].tolist():
        session.add_object(Box3D(x0, y0, 0, x1 + 1, y1 + 1, 1))
    for _ in session.iter_segment():
        pass
    masks = parity.masks("b")
    expected = np.zeros(volume.shape[1:], np.uint8)
    for index, mask in enumerate(masks, 1):
        expected[mask] = index
    reference = parity.arrays["b_segs_crc32"]
    assert zlib.crc32(expected.tobytes()) == reference
    assert (labels[0] != expected).sum() <= 35
    if lite_backend.info.backend == "torch":
        assert zlib.crc32(labels[0].tobytes()) == reference


class Recording:
    """A backend that notes the boxes it is given."""

    def __init__(self, backend):
        self.backend, self.config, self.info = backend, backend.config, backend.info
        self.boxes = []

    def encode(self, model_input):
        return self.backend.encode(model_input)

    def decode(self, image_embedding, boxes):
        self.boxes.extend(boxes.tolist())
        return self.backend.decode(image_embedding, boxes)


def test_mask_propagation_gives_the_reference_volume(parity, lite_backend):
    seeds = parity.arrays["p_slice_shape_seed"]
    array = np.stack([parity.picture(*(int(v) for v in row)) for row in seeds])
    assert zlib.crc32(array.tobytes()) == parity.arrays["p_image_crc32"]
    x0, y0, z0, x1, y1, z1 = (int(v) for v in parity.arrays["p_box3d"])
    backend = Recording(lite_backend)
    updates = segment_volume(
        SliceSegmenter(backend),
        Volume(array),
        [ObjectPrompt(1, Box3D(x0, y0, z0, x1 + 1, y1 + 1, z1 + 1))],
        FULL,
        Follow.MASK,
    )
    segmented, order = np.zeros(array.shape, bool), []
    for update in updates:
        order.append(update.slice_index)
        segmented[update.slice_index] = update.masks[0][1]
    assert order == [1, 2, 3, 0]
    boxes = [backend.boxes[order.index(z)] for z in range(4)]
    np.testing.assert_array_equal(boxes, parity.arrays["p_boxes_256"])
    packed = parity.arrays["p_segs_packed"]
    reference = np.unpackbits(packed, count=array.size).reshape(array.shape)
    assert (segmented != reference.astype(bool)).sum() <= 35


@pytest.mark.parametrize("part", ["encode", "decode"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_not_finite_is_an_error_and_no_empty_mask(
    new_backend, volume, monkeypatch, part, value
):
    backend = new_backend()
    honest = getattr(backend, part)

    def broken(*arguments):
        values = np.array(honest(*arguments))
        values.flat[-1] = value
        return values

    monkeypatch.setattr(backend, part, broken)
    segmenter = SliceSegmenter(backend)
    with pytest.raises(InvalidOutput, match="1 values that are not finite"):
        segmenter.segment_slice(volume, 1, many_boxes(2), FULL)
    assert (segmenter.store.get(segmenter.key(volume.array[1])) is None) == (
        part == "encode"
    )
