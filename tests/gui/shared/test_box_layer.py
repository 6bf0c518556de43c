"""Rectangles and objects, without a panel."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_qmedsam.errors import InvalidBox, InvalidSettings
from napari_qmedsam.gui.shared.box_layer import BoxLayer
from napari_qmedsam.gui.shared.colours import colour_of
from napari_qmedsam.gui.shared.drawn_boxes import read_drawn_boxes
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.gui.shared.rectangles import DrawnBox, box_layer_data, rectangle
from napari_qmedsam.gui.shared.session_layer import Edit
from napari_qmedsam.gui.shared.viewer_state import state_of
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.session import Session

pytestmark = pytest.mark.gui

FIRST, SECOND = Box2D(3, 8, 27, 22), Box2D(18, 28, 42, 42)


@pytest.fixture
def image(volume):
    return Layer.create(*image_layer_data(volume, "bars"))


@pytest.fixture
def said():
    return []


@pytest.fixture
def edits():
    return []


@pytest.fixture
def boxes(image, volume, said, edits):
    """A box layer that has been taken, with nothing drawn in it."""
    boxes = BoxLayer(image, Session(volume), said.append, edits.append)
    boxes.take(boxes.make())
    return boxes


def draw(boxes, slice_index, box, axis=0):
    boxes.layer.add_rectangles(rectangle(slice_index, box, 3, axis))


def test_a_rectangle_is_an_object_and_an_edit_of_its_slice(boxes, edits):
    draw(boxes, 2, FIRST)
    (found,) = boxes.session.objects.values()
    assert (found.box.in_plane, found.box.z_min, found.box.z_max) == (FIRST, 2, 3)
    assert edits == [[Edit(1, 0, 2)]]


def test_only_what_changed_is_an_edit(boxes, edits):
    draw(boxes, 2, FIRST)
    draw(boxes, 4, SECOND)
    moved = [boxes.layer.data[0], rectangle(4, FIRST, 3)]
    boxes.layer.data = moved
    assert edits[1:] == [[Edit(2, 0, 4)], [Edit(2, 0, 4)]]
    boxes.layer.selected_data = {0}
    boxes.layer.remove_selected()
    assert edits[-1] == []
    assert list(boxes.session.objects) == [2]


def test_a_box_across_another_axis_is_an_edit_along_it(boxes, edits):
    draw(boxes, 15, Box2D(5, 1, 20, 5), axis=1)
    assert boxes.session.objects[1].axis == 1
    assert edits == [[Edit(1, 1, 15)]]


def test_objects_of_a_script_are_drawn_and_a_layer_follows_them(boxes, edits):
    session, before = boxes.session, {}
    session.add_object(Box3D(3, 8, 1, 27, 22, 5), "bar")
    boxes.follow(before)
    assert boxes.layer.nshapes == 1
    np.testing.assert_array_equal(boxes.layer.data[0], rectangle(2, FIRST, 3))
    before = dict(session.objects)
    session.change_object(1, name="lesion")
    boxes.follow(before)
    assert list(boxes.layer.features["name"]) == ["lesion"]
    assert edits == []  # nobody drew


def test_a_rectangle_that_is_no_box_is_said_and_taken_away(boxes, said, edits):
    draw(boxes, 2, Box2D(60, 8, 70, 22))
    assert "lies outside" in said[-1]
    assert boxes.layer.nshapes == 0
    assert edits == [[]]
    boxes.layer.events.data.disconnect(boxes._changed)
    draw(boxes, 2, Box2D(60, 8, 70, 22))
    with pytest.raises(InvalidBox, match="lies outside"):
        boxes.read()


def test_a_locked_objects_rectangle_is_put_back(boxes, said):
    draw(boxes, 2, FIRST)
    boxes.session.change_object(1, is_locked=True)
    boxes.layer.data = [rectangle(2, SECOND, 3)]
    assert "locked" in said[-1].lower()
    np.testing.assert_array_equal(boxes.layer.data[0], rectangle(2, FIRST, 3))
    boxes.drop()
    boxes.remove()  # the layer is gone, and so are its objects
    assert boxes.session.objects == {}


def test_boxes_have_the_colours_they_are_told(image, volume):
    red = np.array([1.0, 0.0, 0.0, 1.0])
    boxes = BoxLayer(image, Session(volume), print, colour=lambda _: red.copy())
    boxes.take(boxes.make())
    draw(boxes, 2, FIRST)
    np.testing.assert_array_equal(boxes.layer.edge_color[0], red)


@pytest.fixture
def viewer_with_boxes(volume):
    viewer = ViewerModel()
    drawn = [DrawnBox(4, "bar", Box3D(3, 8, 1, 27, 22, 5), 2)]
    for data in (
        image_layer_data(volume, "bars"),
        box_layer_data(drawn, volume, "boxes"),
    ):
        viewer.add_layer(Layer.create(*data))
    return viewer


def test_boxes_are_read_without_a_workspace(viewer_with_boxes, said):
    viewer = viewer_with_boxes
    session = state_of(viewer).session_of(viewer.layers["bars"])
    read_drawn_boxes(viewer, viewer.layers["bars"], session)
    (found,) = session.objects.values()
    assert (found.object_id, found.name) == (4, "bar")
    assert (found.box.z_min, found.box.z_max) == (1, 5)
    colours = viewer.layers["boxes"].edge_color
    np.testing.assert_allclose(colours[0], colour_of(4), atol=1e-6)
    viewer.layers["boxes"].data = []  # nobody listens
    assert session.objects
    read_drawn_boxes(viewer, viewer.layers["bars"], session)
    assert not session.objects


def test_reading_boxes_refuses_what_is_locked(viewer_with_boxes):
    viewer = viewer_with_boxes
    session = state_of(viewer).session_of(viewer.layers["bars"])
    read_drawn_boxes(viewer, viewer.layers["bars"], session)
    session.change_object(4, is_locked=True)
    viewer.layers["boxes"].data = [rectangle(2, SECOND, 3)]
    with pytest.raises(InvalidSettings, match="locked"):
        read_drawn_boxes(viewer, viewer.layers["bars"], session)


def test_boxes_of_another_volume_do_not_fit(boxes, volume, image):
    other = volume.with_array(volume.array)
    drawn = [DrawnBox(1, "bar", Box3D(3, 8, 1, 27, 22, 5), 2)]
    assert boxes.fits(Layer.create(*box_layer_data(drawn, volume, "ours")))
    assert not boxes.fits(Layer.create(*box_layer_data(drawn, other, "theirs")))
    assert isinstance(image, Image)
    assert not boxes.fits(image)
