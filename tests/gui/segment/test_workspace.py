"""A session and the layers that follow it, without a panel."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Layer

from napari_qmedsam.errors import GridMismatch, InvalidSettings
from napari_qmedsam.gui.segment.point_layer import PointLayer
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.gui.shared.session_layer import Edit
from napari_qmedsam.prompts import Box2D, Box3D

INSIDE = PointLayer.tools[0]

pytestmark = pytest.mark.gui

FIRST = Box2D(3, 8, 27, 22)
BOX = Box3D(3, 8, 1, 27, 22, 5)


@pytest.fixture
def viewer(volume, qtbot):
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*image_layer_data(volume, "bars")))
    return viewer


@pytest.fixture
def said():
    return []


@pytest.fixture
def workspace(viewer, said):
    return Workspace(viewer, viewer.layers["bars"], said.append)


@pytest.fixture
def heard(workspace):
    """What the workspace told: 'changed', layers taken, lists of edits."""
    heard = []
    workspace.changed.connect(lambda: heard.append("changed"))
    workspace.layer_taken.connect(heard.append)
    workspace.edited.connect(lambda _, edits: heard.append(edits))
    return heard


def test_nothing_is_made_before_it_is_needed(workspace, viewer):
    assert [own.layer for own in workspace.layers] == [None] * 4
    assert list(viewer.layers) == [workspace.image]
    assert not workspace.is_unsaved


def test_drawing_tells_the_edit_once(workspace, heard):
    layer = workspace.draw_boxes()
    assert layer.mode == "add_rectangle"
    assert layer in heard
    assert workspace.labels_layer.layer in heard
    heard.clear()
    layer.add_rectangles(rectangle(2, FIRST, 3))
    assert heard == ["changed", [Edit(1, 0, 2)]]
    assert workspace.is_unsaved


def test_layers_follow_an_edit_of_the_session(workspace, viewer, heard):
    with workspace.edit() as session:
        session.add_object(BOX, "bar")
    boxes = workspace.box_layer.layer
    assert boxes in viewer.layers
    assert list(boxes.features["name"]) == ["bar"]
    assert heard[-1] == "changed"
    assert not any(isinstance(what, list) for what in heard)  # nobody drew
    workspace.mark_saved()
    with workspace.edit() as session:
        session.change_object(1, name="lesion")
    assert list(boxes.features["name"]) == ["lesion"]
    assert workspace.is_unsaved


def test_what_is_done_before_a_refusal_is_shown(workspace):
    with workspace.edit() as session:
        session.add_object(BOX, "bar")
        session.add_object(BOX, "other", is_locked=True)

    def edit():
        with workspace.edit() as session:
            session.change_object(1, name="lesion")
            session.change_object(2, box=Box3D(3, 8, 1, 27, 22, 6))

    with pytest.raises(InvalidSettings, match="locked"):
        edit()
    assert list(workspace.box_layer.layer.features["name"]) == ["lesion", "other"]


def test_a_refused_edit_alone_is_no_unsaved_work(workspace):
    with pytest.raises(InvalidSettings), workspace.edit(paints=True):
        raise InvalidSettings("No.")
    assert not workspace.is_unsaved


def test_labels_that_were_moved_off_their_image_are_not_painted(workspace):
    layer = workspace.show_labels()
    layer.translate = np.asarray(layer.translate) + [6.0, 0, 0]
    with pytest.raises(GridMismatch, match="does not lie on 'bars' any more"):
        workspace.labels_layer.share()
    layer.translate = np.asarray(layer.translate) - [6.0, 0, 0]
    workspace.labels_layer.share()


def test_hidden_objects_are_hidden_in_every_layer(workspace):
    with workspace.edit() as session:
        session.add_object(BOX, "bar")
    workspace.refine(1, INSIDE)
    workspace.refining["points"].layer.add([[2, 15, 10]])
    assert len(workspace.session.objects[1].points) == 1
    with workspace.edit() as session:
        session.change_object(1, is_visible=False)
    assert len(workspace.refining["points"].layer.data) == 0
    assert workspace.box_layer.layer.edge_color[0][3] == 0
    colour = workspace.labels_layer.layer.colormap.map(np.uint16(1))
    assert np.ravel(colour)[3] == 0
    with workspace.edit(paints=True) as session:
        session.change_object(1, is_visible=True)
    assert len(workspace.refining["points"].layer.data) == 1


def test_undo_and_redo_are_edits_like_others(workspace):
    workspace.draw_boxes().add_rectangles(rectangle(2, FIRST, 3))
    with workspace.edit(paints=True) as session:
        session.undo()
    assert workspace.box_layer.layer.nshapes == 0
    with workspace.edit(paints=True) as session:
        session.redo()
    assert workspace.box_layer.layer.nshapes == 1


def test_a_key_box_lies_on_the_slice_in_view_and_is_selected(workspace, heard):
    workspace.draw_boxes().add_rectangles(rectangle(1, FIRST, 3))
    workspace.view.go_to(4)
    workspace.add_key_box(1)
    assert heard[-1] == [Edit(1, 0, 4)]
    assert workspace.box_layer.layer.selected_data == {1}
    keys = [key.slice_index for key in workspace.session.objects[1].keys]
    assert keys == [1, 4]
    workspace.view.look_along(1)
    with pytest.raises(InvalidSettings, match="another view"):
        workspace.add_key_box(1)


def test_layers_are_found_again(workspace, viewer, said):
    workspace.draw_boxes().add_rectangles(rectangle(2, FIRST, 3))
    workspace.session.labels[2, 10:20, 5:25] = 1
    layers = [own.layer for own in workspace.layers]
    workspace.close()
    assert [own.layer for own in workspace.layers] == [None] * 4
    again = Workspace(viewer, workspace.image, said.append)
    assert [own.layer for own in again.layers] == layers
    assert again.session is workspace.session
    assert not again.is_unsaved


def test_a_layer_that_is_deleted_takes_what_it_showed_along(workspace, viewer):
    workspace.draw_boxes().add_rectangles(rectangle(2, FIRST, 3))
    workspace.session.labels[2, 10:20, 5:25] = 1
    for own in (workspace.labels_layer, workspace.box_layer):
        layer = own.layer
        viewer.layers.remove(layer)
        workspace.layer_removed(layer)
        assert own.layer is None
    assert not workspace.session.labels.any()
    assert not workspace.session.objects


def test_labels_of_others_are_not_taken(workspace, viewer, volume):
    stranger = Labels(np.zeros(volume.shape, np.uint8), name="truth")
    viewer.add_layer(stranger)
    workspace.adopt(stranger)
    assert workspace.labels_layer.layer is None


def test_a_slice_that_is_not_in_view_is_not_drawn(workspace, monkeypatch):
    workspace.show_labels()
    drawn = []
    monkeypatch.setattr(
        workspace.labels_layer, "redraw", lambda is_whole: drawn.append(is_whole)
    )
    workspace.view.go_to(3)
    workspace.labels_changed(2)
    assert drawn == []
    workspace.labels_changed(3)
    workspace.labels_changed(3, axis=1)
    workspace.labels_changed()
    assert drawn == [False, True]
    assert workspace.is_unsaved
