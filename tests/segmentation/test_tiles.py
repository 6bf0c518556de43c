"""Small boxes of large slices are segmented in a tile, which neighbours share."""

from dataclasses import replace

import numpy as np
import pytest

from napari_qmedsam.models.configuration import CONFIGS
from napari_qmedsam.prompts import Box2D, Box3D, KeyBox, Point
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.propagation import propagate_masks, segment_volume
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.segmentation.tiles import Tile
from napari_qmedsam.volumes.windows import Window

FULL = Window(0, 255)
STRIPES = Box2D(40, 12, 48, 20)
"""An object of single columns, which a slice shrunk to half loses."""


@pytest.fixture
def config(backend):
    """Made for slices of 32 pixels, with tiles for boxes of up to 8 in 64."""
    return replace(backend.config, tiled_share=1 / 8)


@pytest.fixture
def truth():
    stripes = np.zeros((3, 64, 64), bool)
    stripes[1, 12:20, 40:48:2] = True
    return stripes


@pytest.fixture
def segmenter(new_backend, config, monkeypatch):
    backend = new_backend()
    monkeypatch.setattr(backend, "config", config)
    return SliceSegmenter(backend)


@pytest.mark.parametrize(
    ("box", "tile"),
    [
        (Box2D(2, 0, 8, 8), Tile(0, 0, 32, 32)),  # in a corner, nothing beyond it
        (STRIPES, Tile(0, 32, 32, 32)),
        (Box2D(28, 30, 36, 36), Tile(16, 16, 32, 32)),
        (Box2D(56, 56, 64, 64), Tile(32, 32, 32, 32)),
        (Box2D(28, 30, 37, 36), None),  # too wide
    ],
)
def test_a_box_has_the_tile_whose_middle_is_nearest(config, box, tile):
    assert Tile.of(box, (64, 64), config) == tile


def test_every_small_box_of_any_slice_is_well_inside_of_its_tile(config):
    shape = 71, 97
    for y in range(0, 65, 3):
        for x in range(0, 90, 3):
            box = Box2D(x, y, x + 7, y + 6)
            tile = Tile.of(box, shape, config)
            assert tile is not None
            low_y, low_x = (0 if s == 0 else 2 for s in (tile.y, tile.x))
            high_y = tile.height - (0 if tile.y + tile.height == shape[0] else 2)
            high_x = tile.width - (0 if tile.x + tile.width == shape[1] else 2)
            inside = tile.box(box)
            assert low_y <= inside.y_min < inside.y_max <= high_y
            assert low_x <= inside.x_min < inside.x_max <= high_x


def test_a_slice_that_is_not_shrunk_much_has_none(config):
    assert Tile.of(Box2D(2, 2, 6, 6), (48, 40), config) is None
    assert Tile.of(STRIPES, (64, 64), replace(config, tiled_share=0.0)) is None
    assert CONFIGS["medsam_vit_b"].tiled_share == 0  # it sees 1024 pixels


def test_a_small_object_keeps_what_the_whole_slice_loses(
    segmenter, new_backend, bright_volume, truth
):
    volume = bright_volume(truth)
    (mask,) = segmenter.segment_slice(volume, 1, [STRIPES], FULL)
    np.testing.assert_array_equal(mask, truth[1])
    (whole,) = SliceSegmenter(new_backend()).segment_slice(volume, 1, [STRIPES], FULL)
    assert not np.array_equal(whole, truth[1])


def test_neighbours_share_a_tile_and_the_volume_way_gives_the_same(
    segmenter, bright_volume, truth
):
    volume = bright_volume(truth)
    other = Box2D(50, 12, 56, 18)
    expected = segmenter.segment_slice(volume, 1, [STRIPES, other], FULL)
    assert len(segmenter.backend.encoded) == 1  # not the slice as well
    prompts = [
        ObjectPrompt(i, Box3D.on_slice(1, box)) for i, box in ((1, STRIPES), (2, other))
    ]
    (update,) = segment_volume(segmenter, volume, prompts, FULL)
    for index, mask in update.masks:
        np.testing.assert_array_equal(mask, expected[index])
    assert len(segmenter.backend.encoded) == 1


def test_propagated_masks_are_seen_in_tiles_and_guesses_between_keys_whole(
    segmenter, bright_volume, truth
):
    volume = bright_volume(np.stack([truth[1]] * 3))
    prompt = ObjectPrompt(1, Box3D.on_slice(1, STRIPES))
    updates = list(
        propagate_masks(segmenter, volume, [prompt], [truth[1]], 1, window=FULL)
    )
    assert [update.found for update in updates] == [(1,), (1,)]
    assert len(segmenter.backend.encoded) == 1  # the three slices look the same
    assert not segmenter.is_encoded(volume, 0, FULL)
    keys = tuple(KeyBox(z, STRIPES) for z in (0, 2))
    keyed = ObjectPrompt(1, Box3D(40, 12, 0, 48, 20, 3), keys=keys)
    list(segment_volume(segmenter, volume, [keyed], FULL))
    assert segmenter.is_encoded(volume, 1, FULL)


def test_points_beside_a_tile_have_the_whole_slice_shown(segmenter, bright_volume):
    volume = bright_volume(np.zeros((1, 64, 64), bool))
    inside, beside = (Point(0, x, 15.0) for x in (44.0, 10.0))
    assert segmenter.view(volume, STRIPES, [inside]).tile == Tile(0, 32, 32, 32)
    assert segmenter.view(volume, STRIPES, [inside, beside]).tile is None
