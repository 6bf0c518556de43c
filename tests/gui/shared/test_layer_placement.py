"""Where layers lie in the patient when they meet, by their affines."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Layer

from napari_qmedsam.errors import GridMismatch, InvalidVolume
from napari_qmedsam.gui.shared.layer_placement import (
    file_volume,
    labels_beside,
    lie_alike,
    scan_under,
)
from napari_qmedsam.gui.shared.layers import image_layer_data, labels_layer_data
from napari_qmedsam.gui.shared.viewer_state import state_of
from napari_qmedsam.volumes.labels import labels_on_grid
from napari_qmedsam.volumes.volume import Modality, Volume

pytestmark = pytest.mark.gui

PLACE = ("scale", "translate", "affine")


def oblique(degrees=25, offset=(30.0, -80.0, 12.0)):
    """A scan turned about x and z, 5 x 8 x 6 voxels."""
    a = np.radians(degrees)
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_x) @ about_z @ np.diag([-1.5, -1.5, 4.0])
    affine[:3, 3] = offset
    array = np.arange(240, dtype=np.int16).reshape(5, 8, 6)
    return Volume(array, (4.0, 1.5, 1.5), affine, Modality.CT)


def image_of(volume, name="scan"):
    return Layer.create(*image_layer_data(volume, name))


def flipped(labels, volume, axis):
    """The same labels, stored the other way round along an array axis."""
    column, last = 2 - axis, volume.shape[axis] - 1
    turn = np.eye(4)
    turn[column, column], turn[column, 3] = -1, last
    array = np.ascontiguousarray(np.flip(labels, axis))
    return Volume(array, volume.spacing_mm, volume.affine @ turn)


def some_labels(volume):
    labels = np.zeros(volume.shape, np.uint8)
    labels[1:3, 1:4, 2:5] = 7
    return labels


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("has_volume", [True, False])
def test_labels_stored_the_other_way_round_lie_where_they_lie(axis, has_volume):
    scan = oblique()
    labels = some_labels(scan)
    layer = Layer.create(
        *labels_layer_data((other := flipped(labels, scan, axis)).array, other, "truth")
    )
    if not has_volume:
        # As napari shows it, the turn is not in the layer.
        place = {"scale": scan.spacing_mm, "translate": layer.translate}
        layer = Labels(other.array, affine=layer.affine, **place)
    placed = labels_on_grid(labels_beside(layer, image_of(scan)), scan)
    np.testing.assert_array_equal(placed.array, labels)


def test_labels_that_were_moved_count_where_they_are_seen():
    scan = oblique()
    image, layer = (
        image_of(scan),
        Layer.create(*labels_layer_data(some_labels(scan), scan, "truth")),
    )
    assert file_volume(layer) is scan
    layer.translate = np.asarray(layer.translate) + [4.0, 0, 0]
    assert file_volume(layer) is None
    assert not lie_alike(layer, image)
    placed = labels_on_grid(labels_beside(layer, image), scan)
    np.testing.assert_array_equal(placed.array, np.roll(some_labels(scan), 1, 0))


def test_labels_of_another_number_of_axes_are_refused():
    with pytest.raises(GridMismatch, match="'flat' has 2 axes, but 'scan' has 3"):
        labels_beside(Labels(np.zeros((8, 6), int), name="flat"), image_of(oblique()))


def test_labels_beyond_the_scan_are_refused():
    scan = oblique()
    far = Labels(np.ones((3, 3, 3), np.uint8), translate=(5000, 0, 0))
    with pytest.raises(GridMismatch, match="wholly outside"):
        labels_on_grid(labels_beside(far, image_of(scan)), scan)


def test_a_filtered_copy_of_an_oblique_scan_lies_where_the_scan_does():
    scan, viewer = oblique(), ViewerModel()
    image = viewer.add_layer(image_of(scan))
    place = {key: getattr(image, key) for key in PLACE}
    copy = viewer.add_image(scan.array.astype(np.float32), name="filtered", **place)
    volume = state_of(viewer).session_of(copy).volume
    np.testing.assert_allclose(volume.affine, scan.affine, atol=1e-9)
    assert state_of(viewer).session_of(copy).volume is volume


def test_a_layer_on_scans_that_disagree_is_refused_by_name():
    one, other = image_of(oblique(25), "CT"), image_of(oblique(-20), "MR")
    bare = Labels(np.zeros((80, 80, 80), np.uint8), scale=(10, 10, 10), name="new")
    bare.translate = (-400, -400, -400)
    assert scan_under(bare, [one, bare]) is one
    with pytest.raises(InvalidVolume, match="'new' lies on 'CT' and on 'MR'"):
        scan_under(bare, [one, other, bare])
    exact = Labels(
        np.zeros((5, 8, 6), int), **{key: getattr(other, key) for key in PLACE}
    )
    assert scan_under(exact, [one, other, exact]) is other
