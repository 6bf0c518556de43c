"""3D boxes to slices: every slice encoded once, masks tracked to their ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_qmedsam.errors import InvalidBox
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.propagation import (
    Follow,
    ObjectPrompt,
    segment_volume,
)
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.windows import Window

FULL = Window(0, 255)
DEPTH = 9
OVERLAPPING = (
    Box3D(2, 2, 0, 14, 14, 6),
    Box3D(8, 8, 2, 20, 20, 9),
    Box3D(4, 16, 1, 12, 28, 3),
    Box3D(16, 2, 4, 28, 12, 5),
)
"""Four objects; together they cross slices 0 to 8, some of them in both ways."""


def prompts(boxes):
    return [ObjectPrompt(i, box) for i, box in enumerate(boxes, 1)]


@pytest.fixture
def column(bright_volume):
    """Bright wherever one of the boxes is, a pixel in from its sides."""
    truth = np.zeros((DEPTH, 32, 32), bool)
    for b in OVERLAPPING:
        truth[
            b.z_min : b.z_max, b.y_min + 1 : b.y_max - 1, b.x_min + 1 : b.x_max - 1
        ] = True
    return bright_volume(truth), truth


def collected(updates, count, shape):
    """Masks of every object, and the slices in the order of their visits."""
    found, order = np.zeros((count, *shape), bool), []
    for update in updates:
        order.append(update.slice_index)
        for index, mask in update.masks:
            found[index, update.slice_index] = mask
    return found, order


def test_every_slice_gets_the_boxes_that_cross_it_in_order(backend, bright_volume):
    boxes = [Box3D(0, 0, 3, 9, 9, 5), Box3D(0, 0, 1, 9, 9, 4)]
    volume = bright_volume(np.ones((DEPTH, 32, 32), bool))
    updates = segment_volume(SliceSegmenter(backend), volume, prompts(boxes), FULL)
    crossing = [(u.slice_index, [i for i, _ in u.masks]) for u in updates]
    assert crossing == [(1, [1]), (2, [1]), (3, [0, 1]), (4, [0])]


@pytest.mark.parametrize("memory", [1 << 30, 1], ids=["ample", "tiny"])
@pytest.mark.parametrize("way", Follow)
def test_every_slice_is_encoded_once_however_many_objects_cross_it(
    backend, column, way, memory
):
    volume, _ = column
    segmenter = SliceSegmenter(backend, EmbeddingStore(memory))
    updates = segment_volume(segmenter, volume, prompts(OVERLAPPING), FULL, way)
    _, order = collected(updates, 4, volume.shape)
    assert set(order) == set(range(DEPTH))
    assert len(backend.encoded) == DEPTH
    assert len(set(backend.encoded)) == DEPTH


boxes_over_slices = st.tuples(st.integers(0, DEPTH - 1), st.integers(1, DEPTH)).map(
    lambda pair: Box3D(4, 4, pair[0], 12, 12, min(DEPTH, pair[0] + pair[1]))
)


@settings(max_examples=50)
@given(
    st.lists(boxes_over_slices, min_size=1, max_size=5),
    st.sets(st.integers(0, DEPTH - 1)),
)
def test_mask_propagation_encodes_no_slice_twice(
    new_backend, bright_volume, boxes, filled
):
    truth = np.zeros((DEPTH, 32, 32), bool)
    truth[sorted(filled), 5:9, 5:9] = True
    backend = new_backend()
    store = EmbeddingStore(memory_limit=1)
    updates = segment_volume(
        SliceSegmenter(backend, store),
        bright_volume(truth),
        prompts(boxes),
        FULL,
        Follow.MASK,
    )
    seen = {(u.slice_index, i) for u in updates for i, _ in u.masks}
    expected = {(z, i) for i, b in enumerate(boxes) for z in range(b.z_min, b.z_max)}
    assert seen == expected
    assert len(backend.encoded) == len(set(backend.encoded))
    assert not store._held
    assert not store._disk


@pytest.mark.parametrize("way", Follow)
def test_each_object_gets_what_is_bright_inside_its_box(backend, column, way):
    volume, truth = column
    updates = segment_volume(
        SliceSegmenter(backend), volume, prompts(OVERLAPPING), FULL, way
    )
    found, _ = collected(updates, 4, volume.shape)
    for mask, b in zip(found, OVERLAPPING, strict=True):
        inside = np.zeros_like(truth)
        inside[b.z_min : b.z_max, b.y_min : b.y_max, b.x_min : b.x_max] = True
        if way is Follow.BOX:
            assert np.array_equal(mask, truth & inside)
        else:  # boxes from masks may reach three pixels further
            assert (mask & inside).sum() >= 0.95 * (truth & inside).sum()


def test_boxes_visit_slices_upwards_and_masks_from_the_middle_out(backend, column):
    volume, _ = column
    segmenter = SliceSegmenter(backend)
    box = prompts([Box3D(2, 2, 1, 14, 14, 6)])
    for way, expected in [
        (Follow.BOX, [1, 2, 3, 4, 5]),
        (Follow.MASK, [3, 4, 5, 2, 1]),
    ]:
        updates = list(segment_volume(segmenter, volume, box, FULL, way))
        assert [u.slice_index for u in updates] == expected
        assert [(u.done, u.total) for u in updates] == [(i, 5) for i in range(1, 6)]


@pytest.mark.parametrize(("z_max", "start"), [(6, 3), (5, 2), (2, 1)])
def test_the_middle_is_rounded_down(backend, column, z_max, start):
    volume, _ = column
    updates = segment_volume(
        SliceSegmenter(backend),
        volume,
        prompts([Box3D(2, 2, 1, 14, 14, z_max)]),
        FULL,
        Follow.MASK,
    )
    assert next(updates).slice_index == start


def drifting(bright_volume, gap: int | None = None):
    """A square that moves two pixels to the right per slice."""
    truth = np.zeros((7, 32, 32), bool)
    for z in range(7):
        if z != gap:
            truth[z, 10:16, 2 + 2 * z : 8 + 2 * z] = True
    return bright_volume(truth), truth


def test_masks_are_followed_where_the_drawn_box_would_lose_them(backend, bright_volume):
    volume, truth = drifting(bright_volume)
    middle = prompts([Box3D(7, 9, 0, 15, 17, 7)])  # around slice 3
    updates = segment_volume(SliceSegmenter(backend), volume, middle, FULL, Follow.MASK)
    found, _ = collected(updates, 1, volume.shape)
    assert np.array_equal(found[0], truth)


def test_an_object_ends_where_its_mask_is_empty(backend, bright_volume):
    volume, truth = drifting(bright_volume, gap=5)
    middle = prompts([Box3D(7, 9, 0, 15, 17, 7)])
    segmenter = SliceSegmenter(backend)
    updates = segment_volume(segmenter, volume, middle, FULL, Follow.MASK)
    found, order = collected(updates, 1, volume.shape)
    assert np.array_equal(found[0][:5], truth[:5])
    assert not found[0][5:].any()
    assert order == [3, 4, 5, 6, 2, 1, 0]  # slice 6 is told empty ...
    assert len(backend.encoded) == 6  # ... but not looked at


def test_an_object_that_is_empty_in_the_middle_is_empty(backend, bright_volume):
    volume, _ = drifting(bright_volume, gap=3)
    middle = prompts([Box3D(7, 9, 0, 15, 17, 7)])
    updates = segment_volume(SliceSegmenter(backend), volume, middle, FULL, Follow.MASK)
    found, _ = collected(updates, 1, volume.shape)
    assert not found.any()
    assert len(backend.encoded) == 1


def test_boxes_reaching_out_of_the_volume_are_cut(backend, column):
    volume, _ = column
    box = prompts([Box3D(-5, -5, -2, 99, 99, 99)])
    updates = segment_volume(SliceSegmenter(backend), volume, box, FULL)
    assert [u.slice_index for u in updates] == list(range(DEPTH))


def test_a_box_outside_is_refused_before_anything_is_encoded(backend, column):
    volume, _ = column
    boxes = [*OVERLAPPING, Box3D(0, 0, DEPTH, 5, 5, DEPTH + 1)]
    with pytest.raises(InvalidBox, match="outside the volume of 9 slices"):
        segment_volume(SliceSegmenter(backend), volume, prompts(boxes), FULL)
    assert backend.encoded == []


@pytest.mark.parametrize("stop", range(1, 16))
def test_stopping_anywhere_keeps_no_embedding_on_hold(backend, column, stop):
    volume, _ = column
    store = EmbeddingStore(memory_limit=1)
    updates = segment_volume(
        SliceSegmenter(backend, store),
        volume,
        prompts(OVERLAPPING),
        FULL,
        Follow.MASK,
    )
    for _, _ in zip(range(stop), updates, strict=False):
        pass
    updates.close()
    assert not store._held
    assert not store._disk


def test_an_error_in_the_model_keeps_no_embedding_on_hold(backend, column, monkeypatch):
    volume, _ = column
    store = EmbeddingStore(memory_limit=1)
    updates = segment_volume(
        SliceSegmenter(backend, store),
        volume,
        prompts(OVERLAPPING),
        FULL,
        Follow.MASK,
    )
    for _ in range(5):
        next(updates)
    assert store._held
    monkeypatch.setattr(backend, "decode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(updates)
    assert not store._held
