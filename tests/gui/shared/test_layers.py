import numpy as np
import pytest
from napari.layers import Image, Layer, Shapes

from napari_qmedsam.errors import InvalidBox, InvalidVolume
from napari_qmedsam.gui.shared.layers import (
    image_layer_data,
    placement_of,
    volume_of,
    window_of,
)
from napari_qmedsam.gui.shared.rectangles import PlacedBox, box_on_slice, rectangle
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.grid import display_affine
from napari_qmedsam.volumes.volume import Modality, Volume
from napari_qmedsam.volumes.windows import Window

pytestmark = pytest.mark.gui


def test_image_lies_where_display_affine_says(volume):
    layer = Layer.create(*image_layer_data(volume, "bars"))
    voxel = np.array([2, 5, 7])
    expected = display_affine(volume) @ [*voxel, 1]
    np.testing.assert_allclose(layer.data_to_world(voxel), expected[:3])
    # z is stored downwards, x towards the right: both must turn round.
    assert np.asarray(layer.affine)[0, 0] == -1
    assert np.asarray(layer.affine)[2, 2] == -1
    assert tuple(layer.scale) == (3.0, 0.5, 0.8)
    assert window_of(layer) == Window(-160, 240)


def test_own_layer_brings_its_volume_along(volume):
    assert volume_of(Layer.create(*image_layer_data(volume, "bars"))) is volume


def test_layer_with_exchanged_data_keeps_its_grid(volume):
    layer = Layer.create(*image_layer_data(volume, "bars"))
    layer.data = volume.array + 1
    changed = volume_of(layer)
    np.testing.assert_array_equal(changed.affine, volume.affine)
    assert changed.array[0, 0, 0] == volume.array[0, 0, 0] + 1


def test_foreign_layer_reads_as_the_volume_it_shows(volume):
    """Display world and back is the identity for grids along the body's axes."""
    _, arguments, _ = image_layer_data(volume, "bars")
    place = {key: arguments[key] for key in ("scale", "translate", "affine")}
    foreign = volume_of(Image(volume.array, **place))
    np.testing.assert_allclose(foreign.affine, volume.affine)
    np.testing.assert_allclose(foreign.spacing_mm, volume.spacing_mm)
    assert foreign.modality is Modality.CT


def test_foreign_layers_are_never_changed_by_cleaning():
    data = np.ones((3, 4, 5), np.float32)
    data[0, 0, 0] = np.nan
    volume = volume_of(Image(data, contrast_limits=(0, 1)))
    assert np.isnan(data[0, 0, 0])
    assert np.isfinite(volume.array).all()


def test_four_axes_are_refused_by_name():
    with pytest.raises(InvalidVolume, match="Layer 'time' has 4 axes"):
        volume_of(Image(np.zeros((2, 3, 4, 5)), name="time"))


def test_colour_picture_is_one_slice():
    volume = volume_of(Image(np.zeros((4, 5, 3), np.uint8), rgb=True))
    assert volume.shape == (1, 4, 5)
    assert volume.is_colour


@pytest.mark.parametrize(
    ("drawn", "covered"),
    [
        # From voxel border to voxel border.
        ((1.5, 2.5, 6.5, 8.5), Box2D(2, 3, 7, 9)),
        # Less than half a voxel off goes to the same borders.
        ((1.1, 2.9, 6.9, 8.1), Box2D(2, 3, 7, 9)),
        ((1.9, 2.1, 6.1, 8.9), Box2D(2, 3, 7, 9)),
    ],
)
@pytest.mark.parametrize("with_own_place", [False, True])
def test_rectangle_moves_to_the_nearest_borders(volume, drawn, covered, with_own_place):
    image = Layer.create(*image_layer_data(volume, "bars"))
    place = placement_of(image)
    if with_own_place:  # another grid in the same world
        place = {"scale": (0.7, -2, 0.3), "translate": (5, 1, -9)}
    boxes = Shapes(ndim=3, **place)
    x_min, y_min, x_max, y_max = drawn
    corners = [(y_min, x_min), (y_min, x_max), (y_max, x_max), (y_max, x_min)]
    vertices = np.array(
        [boxes.world_to_data(image.data_to_world((4, *corner))) for corner in corners]
    )
    assert box_on_slice(vertices, boxes, image) == PlacedBox(0, 4, covered)


def test_rectangle_of_a_box_gives_the_box_back(volume):
    image = Layer.create(*image_layer_data(volume, "bars"))
    boxes = Shapes(ndim=3, **placement_of(image))
    box = Box2D(0, 7, 48, 64)
    assert box_on_slice(rectangle(5, box, 3), boxes, image) == PlacedBox(0, 5, box)


@pytest.mark.parametrize("axis", [1, 2])
def test_rectangle_in_another_view_is_a_box_of_that_view(volume, axis):
    image = Layer.create(*image_layer_data(volume, "bars"))
    boxes = Shapes(ndim=3, **placement_of(image))
    box = Box2D(3, 1, 9, 5)  # columns 3 to 8, slices of the volume 1 to 4
    drawn = rectangle(7, box, 3, axis)
    expected = PlacedBox(axis, 7, box)
    assert box_on_slice(drawn, boxes, image, axis) == expected
    assert box_on_slice(drawn, boxes, image, 0) == expected


def test_rectangle_across_slices_is_refused(volume):
    image = Layer.create(*image_layer_data(volume, "bars"))
    boxes = Shapes(ndim=3, **placement_of(image))
    corners = np.array([(1, 5, 5), (1, 9, 5), (4, 9, 9), (4, 5, 9)], float)
    with pytest.raises(InvalidBox, match="over several slices"):
        box_on_slice(corners, boxes, image)


def test_volume_without_layer_metadata_defaults_to_millimetres():
    volume = volume_of(Image(np.zeros((2, 3, 4)), scale=(5, 1, 1)))
    assert volume.spacing_mm == (5, 1, 1)
    assert isinstance(volume, Volume)
