"""Objects whose whole way is known, propagated from one box: ends, bends, pieces."""

from dataclasses import replace

import numpy as np
import pytest

from napari_qmedsam import Session
from napari_qmedsam.prompts import Box2D, Box3D, KeyBox
from napari_qmedsam.segmentation.early_stop import EarlyStop, Signs
from napari_qmedsam.segmentation.endings import EndReason
from napari_qmedsam.segmentation.evidence import (
    WorkingFrame,
    WorkingSlices,
    edge_contrast,
    grey_table,
    motion_between,
    moved,
    shape_evidence,
    signed_distance,
)
from napari_qmedsam.segmentation.key_shapes import KeyShapes
from napari_qmedsam.segmentation.propagated_object import PropagatedObject, tightened
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.segmentation.votes import Votes
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

SIDE = 64


def disc(x, y, radius):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def volume_of(truth, seed=0):
    rng = np.random.default_rng(seed)
    greys = np.where(truth, 150.0, 70.0) + rng.normal(0, 8, truth.shape)
    return Volume(np.clip(greys, 0, 255).astype(np.uint8))


@pytest.fixture
def propagated(new_backend):
    """Propagate a box around the object on one slice both ways."""

    class Painter(new_backend):
        """A model that paints its whole box, whatever lies in it."""

        def decode(self, image_embedding, boxes):
            y, x = np.mgrid[: self.config.input_size, : self.config.input_size]
            inside = [
                (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
                for x0, y0, x1, y1 in boxes
            ]
            return np.where(inside, 4.0, -4.0).astype(np.float32)

    def run(truth, start):
        session = Session(volume_of(truth), SliceSegmenter(Painter()), Window(0, 255))
        session.add_object(Box3D.on_slice(start, Box2D.enclosing(truth[start])))
        session.labels[start][truth[start]] = 1
        session.propagate(start)
        return session.labels == 1

    return run


def overlap(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_an_object_ends_where_it_ends(propagated):
    truth = np.zeros((16, SIDE, SIDE), bool)
    for z in range(4, 12):
        truth[z] = disc(30, 32, 10 - abs(z - 7))
    found = propagated(truth, 7)
    slices = np.flatnonzero(found.any(axis=(1, 2)))
    assert abs(slices[0] - 4) <= 1
    assert abs(slices[-1] - 11) <= 1
    assert overlap(found, truth) > 0.85


def test_an_object_that_bends_is_followed(propagated):
    truth = np.stack([disc(14 + 0.12 * z**2, 20 + 1.5 * z, 8) for z in range(16)])
    found = propagated(truth, 7)
    assert found.any(axis=(1, 2)).all()
    assert min(overlap(a, b) for a, b in zip(found, truth, strict=True)) > 0.8


def test_an_object_that_splits_keeps_both_pieces(propagated):
    truth = np.stack(
        [disc(32 - 1.6 * z, 32, 9) | disc(32 + 1.6 * z, 32, 9) for z in range(12)]
    )
    found = propagated(truth, 2)
    for piece in (found[-1, :, :32], found[-1, :, 32:]):
        assert piece.any()
    assert min(overlap(a, b) for a, b in zip(found, truth, strict=True)) > 0.8


def test_slices_between_key_boxes_are_expected_to_have_shapes_between_theirs():
    truth = np.stack([disc(16 + 2 * z, 32, 6 + z) for z in range(9)])
    keys = tuple(KeyBox(z, Box2D.enclosing(truth[z])) for z in (0, 8))
    slices = WorkingSlices(volume_of(truth), Window(0, 255))
    asked = []

    def mask_of(key):
        asked.append(key.slice_index)
        return truth[key.slice_index]

    shapes = KeyShapes(slices, keys, mask_of)
    for z in range(1, 8):
        expected = shapes.expected(z)
        assert expected is not None
        distance, greys = expected
        assert overlap(distance > 0, truth[z]) > 0.95
        assert greys[truth[z]].mean() > 0.5
        assert greys[~truth[z]].mean() < -0.5
    assert asked == [0, 8]
    assert shapes.expected(8) is None
    empty = KeyShapes(slices, keys, lambda key: np.zeros((SIDE, SIDE), bool))
    assert empty.expected(4) is None


def test_a_second_look_moves_the_edge_of_a_cut_mask_to_the_greys():
    truth = disc(32, 32, 12)
    image = volume_of(truth[None]).array[0]
    cut = truth.copy()
    cut[:, :23] = False  # a box that began too far to the right
    logits = np.where(cut, 0.5, -0.5).astype(np.float32)
    again = tightened(logits, image) > 0
    assert overlap(again, truth) > overlap(cut, truth) + 0.01
    assert not (tightened(np.full_like(logits, -1.0), image) > 0).any()


MASK = disc(20, 20, 6)


@pytest.mark.parametrize(
    ("mask", "support", "why"),
    [
        (MASK, 1.0, None),
        (np.zeros_like(MASK), 1.0, EndReason.OBJECT_END),
        (disc(20, 20, 2), 1.0, None),  # 8 % of the area, in greys of its own
        (disc(20, 20, 2), 0.0, EndReason.OBJECT_END),
        (disc(20, 20, 4), -1.0, EndReason.OTHER_GREY),
        (disc(50, 50, 6), 1.0, EndReason.MASK_JUMPED),
    ],
)
def test_small_masks_on_strange_greys_are_the_end(mask, support, why):
    share = np.count_nonzero(mask) / np.count_nonzero(MASK)
    signs = Signs(support, share, edge=1.0, grey_shift=0.0)
    assert EarlyStop().why_ended(mask, MASK, signs) is why


def test_signs_add_up_to_an_end():
    faded = Signs(support=0.1, area=0.7, edge=0.2, grey_shift=2.0)
    assert EarlyStop().why_ended(MASK, MASK, faded) is EndReason.OBJECT_END
    for better in ({"support": 1.0}, {"edge": 1.0}, {"grey_shift": 0.0}):
        signs = replace(faded, **better)
        assert EarlyStop().why_ended(MASK, MASK, signs) is None
    assert EarlyStop(least_log_odds=-np.inf).why_ended(MASK, MASK, faded) is None


def test_an_outline_on_an_edge_is_clear():
    image = volume_of(MASK[None]).array[0]
    assert edge_contrast(image, MASK) == pytest.approx(80, abs=15)
    assert edge_contrast(image, disc(20, 20, 3)) < 20  # within the object
    assert edge_contrast(image, disc(45, 45, 6)) < 20  # beside it
    assert edge_contrast(image, MASK & False) == edge_contrast(image, MASK | True) == 0


@pytest.mark.parametrize(("wider", "grows"), [(8, True), (16, False)])
def test_a_way_from_a_tip_grows_to_the_edge_and_no_further(wider, grows):
    image = volume_of(disc(32, 32, 8)[None]).array[0]
    tip = disc(32, 32, 3)
    tip_image = volume_of(tip[None]).array[0]
    way = PropagatedObject(WorkingFrame(SIDE, SIDE), 0, tip_image, tip)
    small, large = (
        np.where(disc(32, 32, radius), 4.0, -4.0) for radius in (3.5, wider)
    )
    chosen = way.choose(image, small, large, way.greys(image))
    assert (chosen is large) is grows
    assert np.array_equal(way.expected, large > 0 if grows else tip)


def test_clearer_ways_have_more_to_say():
    votes = Votes()
    assert votes.on(3) is None
    votes.add(3, np.array([[2.0, -1.0]]), weight=3)
    votes.add(3, np.array([[-2.0, -1.0]]), weight=1)
    assert votes.on(3) == pytest.approx(np.array([[2.0, -2.0]]), abs=1e-4)
    votes.add(4, np.array([[3.0, -3.0]]), weight=0)
    assert votes.on(4) == pytest.approx(np.array([[3.0, -3.0]]), abs=1e-4)


def test_motion_takes_a_mask_along():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (16, 16)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    motion = motion_between(picture, np.roll(picture, 3, axis=1))
    assert overlap(moved(MASK, motion), np.roll(MASK, 3, axis=1)) > 0.9


def test_distances_count_from_the_edge():
    mask = np.zeros((1, 7), bool)
    mask[0, 2:5] = True
    assert signed_distance(mask)[0].tolist() == [-1.5, -0.5, 0.5, 1.5, 0.5, -0.5, -1.5]
    assert (signed_distance(np.zeros((4, 4), bool)) < 0).all()
    assert shape_evidence(signed_distance(mask))[0, 3] == 1


def test_greys_speak_for_where_they_are_common():
    image = np.full((SIDE, SIDE), 50, np.uint8)
    image[MASK] = 200
    table = grey_table(image, MASK)
    assert table[200] == 1
    assert table[50] == -1
    assert table[125] == 0  # neither has it
    assert not grey_table(image, np.zeros_like(MASK)).any()


def test_large_slices_are_worked_on_at_a_smaller_size():
    frame = WorkingFrame(512, 384)
    assert frame.shape == (256, 192)
    mask = np.zeros((512, 384), bool)
    mask[100:200, 40:80] = True
    small = frame.mask(mask)
    assert frame.whole_box(small) == Box2D(40, 100, 80, 200)
    assert overlap(frame.whole_mask(signed_distance(small)), mask) > 0.97
    assert frame.image(np.zeros((512, 384, 3), np.uint8)).shape == (256, 192)
