"""Key boxes, points, views, locks and propagated masks, in the real widgets."""

import numpy as np
import pytest
from napari.layers import Points, Shapes
from napari.utils.notifications import notification_manager

from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.gui.segment.object_table import LOCKED, VISIBLE
from napari_qmedsam.gui.segment.point_layer import PointLayer
from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.models import build_model
from napari_qmedsam.prompts import Box2D, Point

INSIDE = PointLayer.tools[0]

pytestmark = pytest.mark.gui

FIRST = Box2D(3, 8, 27, 22)
WIDER = Box2D(1, 6, 29, 24)
BAR = np.s_[10:20, 5:25]


def draw(panel, slice_index, box, axis=0):
    layer = panel.workspace.draw_boxes()
    layer.add_rectangles(rectangle(slice_index, box, 3, axis))
    return layer


def drag_corner(panel, index, box):
    """Move a rectangle's corners with the mouse's last event, as napari does."""
    layer = panel.workspace.box_layer.layer
    data = layer.data
    axis = 0
    data[index] = rectangle(round(float(data[index][0][axis])), box, 3)
    layer.data = data


def last_message():
    return notification_manager.records[-1].message


def click(panel, place):
    """Set a point with the mouse, through the layer's own callbacks."""
    from napari.utils._test_utils import read_only_mouse_event
    from napari.utils.interactions import (
        mouse_press_callbacks,
        mouse_release_callbacks,
    )

    layer = panel.workspace.refining["points"].layer
    position = panel.workspace.image.data_to_world(place)
    for kind, callbacks in (
        ("mouse_press", mouse_press_callbacks),
        ("mouse_release", mouse_release_callbacks),
    ):
        event = read_only_mouse_event(
            type=kind,
            position=position,
            pos=np.zeros(2),
            view_direction=None,
            up_direction=None,
            dims_displayed=[1, 2],
        )
        callbacks(layer, event)


def test_undo_touches_only_the_rectangles_it_changes(panel):
    draw(panel, 2, FIRST)
    draw(panel, 3, WIDER)
    removed = []

    def note(event):
        if str(event.action) == "removed":
            removed.extend(event.data_indices)

    panel.workspace.box_layer.layer.events.data.connect(note)
    panel.undo()
    assert removed == [1]
    panel.redo()
    assert removed == [1]
    np.testing.assert_allclose(
        panel.workspace.box_layer.layer.data[0], rectangle(2, FIRST, 3)
    )
    np.testing.assert_allclose(
        panel.workspace.box_layer.layer.data[1], rectangle(3, WIDER, 3)
    )
    assert list(panel.workspace.session.objects) == [1, 2]


def test_drawing_and_changing_a_box_segments_its_slice_by_itself(panel, finish):
    panel.controls.automatic.setChecked(True)
    draw(panel, 2, FIRST)
    finish(panel)
    labels = panel.workspace.labels_layer.layer.data
    assert (labels == 1).sum() == 200
    drag_corner(panel, 0, Box2D(3, 8, 15, 22))
    finish(panel)
    assert (labels == 1).sum() == 100  # columns 5 to 14 of the bar
    panel.undo()  # mask and box together
    assert (labels == 1).sum() == 200
    assert panel.workspace.session.objects[1].box.in_plane == FIRST
    corners = panel.workspace.box_layer.layer.data[0]
    np.testing.assert_allclose(corners, rectangle(2, FIRST, 3))


def test_boxes_that_change_while_a_model_works_are_segmented_after(
    panel, backend, finish, qtbot
):
    backend.seconds = 0.1
    panel.controls.automatic.setChecked(True)
    draw(panel, 1, FIRST)
    draw(panel, 2, FIRST)
    draw(panel, 3, FIRST)
    qtbot.waitUntil(
        lambda: not panel.runner.is_waiting and not panel.work.is_busy, timeout=60_000
    )
    labels = panel.workspace.labels_layer.layer.data
    assert [np.unique(labels[z][BAR]).tolist() for z in (1, 2, 3)] == [[1], [2], [3]]


def test_a_range_asked_for_meanwhile_is_segmented_after(panel, backend, finish):
    backend.seconds = 0.05
    panel.controls.automatic.setChecked(True)
    draw(panel, 1, FIRST)
    panel.edits.set_range(1, 0, 4)
    panel.segment_range()
    finish(panel)
    assert panel.workspace.labels_layer.layer.data.any((1, 2)).tolist() == 4 * [
        True
    ] + 2 * [False]


def test_key_boxes_are_added_adjusted_and_followed_between(panel, finish):
    panel.workspace.view.go_to(1)
    draw(panel, 1, FIRST)
    panel.workspace.view.go_to(5)
    panel.controls.key_box.click()
    layer = panel.workspace.box_layer.layer
    assert list(layer.features["object_id"]) == [1, 1]
    assert layer.selected_data == {1}
    drag_corner(panel, 1, Box2D(3, 8, 15, 22))
    o = panel.workspace.session.objects[1]
    assert [key.slice_index for key in o.keys] == [1, 5]
    assert o.prompt.box_on(3) == Box2D(3, 8, 21, 22)
    fields = panel.controls.table.spin_boxes(1)
    # As the slider counts: z runs against the display.
    assert [field.value() for field in fields] == [0, 4]
    panel.controls.on_range.click()
    finish(panel)
    labels = panel.workspace.labels_layer.layer.data
    # The bar stays as it is between the keys: it is followed beyond the boxes there.
    assert [(labels[z] == 1).sum() for z in range(6)] == [0, 200, 200, 200, 200, 100]
    assert panel.controls.table.rowCount() == 1


def test_a_rectangle_copied_to_another_slice_is_a_key_box(panel):
    layer = draw(panel, 1, FIRST)
    layer.add_rectangles(rectangle(4, FIRST, 3))
    table = layer.features.copy()
    table["object_id"] = 1
    layer.features = table
    panel.workspace.box_layer.read()
    [o] = panel.workspace.session.objects.values()
    assert [key.slice_index for key in o.keys] == [1, 4]
    layer.selected_data = {0}
    layer.remove_selected()
    [o] = panel.workspace.session.objects.values()
    assert [key.slice_index for key in o.keys] == [4]


def test_a_corrected_slice_is_propagated_up_and_down(panel, finish):
    # In a narrow window the slices, each brighter than the last, would be another
    # tissue before long.
    panel.workspace.image.contrast_limits = (-1000, 1000)
    panel.workspace.view.go_to(2)
    draw(panel, 2, FIRST)
    labels = panel.workspace.labels_layer.layer.data
    labels[2][BAR] = 1
    labels[2, 10:20, 5:15] = 0  # corrected with napari's brush
    panel.controls.up.click()
    finish(panel)
    # Up is where the slider goes; z runs against the display.
    assert sorted(np.flatnonzero((labels == 1).any((1, 2)))) == [0, 1, 2]
    assert (labels[2] == 1).sum() == 100
    panel.controls.down.click()
    finish(panel)
    assert sorted(np.flatnonzero((labels == 1).any((1, 2)))) == [0, 1, 2, 3, 4, 5]
    fields = panel.controls.table.spin_boxes(1)
    assert [field.value() for field in fields] == [0, 5]
    panel.undo()
    panel.undo()
    assert [field.value() for field in panel.controls.table.spin_boxes(1)] == [3, 3]


def test_points_are_set_with_the_mouse_and_belong_to_the_object(panel):
    panel.workspace.view.go_to(2)
    draw(panel, 2, FIRST)
    panel.controls.buttons["set_positive"].click()
    click(panel, (2, 12, 6))
    panel.controls.buttons["set_negative"].click()
    click(panel, (2, 19, 24))
    points = panel.workspace.session.objects[1].points
    expected = (Point(2, 6, 12, True), Point(2, 24, 19, False))
    for point, wanted in zip(points, expected, strict=True):
        assert (point.slice_index, point.is_positive) == (2, wanted.is_positive)
        assert (point.x, point.y) == pytest.approx((wanted.x, wanted.y))
    colours = panel.workspace.refining["points"].layer.face_color
    assert colours[0][1] > colours[0][0]  # green
    assert colours[1][0] > colours[1][1]  # red
    panel.undo()
    assert len(panel.workspace.refining["points"].layer.data) == 1
    panel.undo()
    panel.redo()
    panel.redo()
    assert len(panel.workspace.refining["points"].layer.data) == 2
    panel.viewer.layers.remove(panel.workspace.refining["points"].layer)
    assert panel.workspace.session.objects[1].points == ()


def test_points_are_warned_of_where_a_model_knows_boxes_alone(panel, tmp_path):
    draw(panel, 2, FIRST)
    models, status = panel.controls.models, panel.controls.status
    for name in ("demo", "lite_medsam"):
        models.choose(name)
        panel.say("")
        panel.controls.buttons["set_positive"].click()
        assert status.text().startswith(f"'{name}' was trained on boxes alone")
        assert panel.workspace.refining["points"].layer.mode == "add"
    card = {"training": {"points": 0.5}}
    clicks = save_model(build_model("demo"), tmp_path / "clicks.safetensors", card)
    models.choose(str(clicks))
    panel.say("")
    panel.controls.buttons["set_negative"].click()
    assert status.text() == ""


def test_points_without_an_object_are_refused(panel):
    panel.refine(INSIDE)
    assert last_message() == "There is no object yet. Draw a box first."
    assert panel.workspace.refining["points"].layer is None


def test_locked_objects_cannot_be_moved_nor_removed(panel, finish):
    draw(panel, 2, FIRST)
    panel.segment_range()
    finish(panel)
    painted = panel.workspace.labels_layer.layer.data.copy()
    lock = panel.controls.table.cellWidget(0, LOCKED)
    lock.click()
    assert panel.workspace.session.objects[1].is_locked
    drag_corner(panel, 0, WIDER)
    assert "'object 1' is locked" in last_message()
    np.testing.assert_allclose(
        panel.workspace.box_layer.layer.data[0], rectangle(2, FIRST, 3)
    )
    panel.workspace.box_layer.layer.selected_data = {0}
    panel.workspace.box_layer.layer.remove_selected()
    assert panel.workspace.box_layer.layer.nshapes == 1
    draw(panel, 2, WIDER)
    panel.segment_range()
    finish(panel)
    np.testing.assert_array_equal(panel.workspace.labels_layer.layer.data, painted)


def test_hidden_objects_are_transparent_in_both_layers(panel, finish):
    draw(panel, 2, FIRST)
    panel.segment_range()
    finish(panel)
    visible = panel.controls.table.cellWidget(0, VISIBLE)
    visible.click()
    workspace = panel.workspace
    assert workspace.box_layer.layer.edge_color[0][3] == 0
    assert workspace.box_layer.layer.features["title"][0] == ""
    assert (
        np.asarray(workspace.labels_layer.layer.colormap.map(np.uint16(1))).ravel()[3]
        == 0
    )
    assert (workspace.labels_layer.layer.data == 1).any()
    visible.click()
    assert workspace.box_layer.layer.edge_color[0][3] == 1
    assert (
        np.asarray(workspace.labels_layer.layer.colormap.map(np.uint16(1))).ravel()[3]
        == 1
    )


@pytest.mark.parametrize("axis", [1, 2])
def test_boxes_are_drawn_and_segmented_in_every_view(panel, finish, axis):
    panel.controls.view.activated.emit(axis)
    workspace = panel.workspace
    assert workspace.view.axis == axis
    slice_index = {1: 15, 2: 10}[axis]
    workspace.view.go_to(slice_index, axis)
    assert workspace.view.slice_index == slice_index
    camera = getattr(panel.viewer, "scene", panel.viewer).camera
    assert str(camera.orientation2d[0]) == "up"  # the head
    # Slices 1 to 4 of the volume are the rows; the bar lies in the columns.
    columns = (3, 27) if axis == 1 else (8, 22)
    draw(panel, slice_index, Box2D(columns[0], 1, columns[1], 5), axis)
    o = workspace.session.objects[1]
    assert (o.axis, o.box.z_min, o.box.z_max) == (axis, slice_index, slice_index + 1)
    panel.controls.on_slice.click()
    finish(panel)
    labels = workspace.labels_layer.layer.data
    found = np.argwhere(labels == 1)
    assert len(found)
    assert set(found[:, axis]) == {slice_index}
    assert found[:, 0].min() >= 1
    assert found[:, 0].max() <= 4
    panel.viewer.dims.order = (0, 1, 2)
    panel.segment_slice()
    assert "There is no box on slice" in last_message()


def test_millilitres_are_counted_while_the_interface_goes_on(panel, finish, qtbot):
    draw(panel, 2, FIRST)
    panel.segment_range()
    finish(panel)
    table = panel.controls.table
    # 200 voxels of 3 by 0.5 by 0.8 mm
    qtbot.waitUntil(lambda: table.item(0, 4).text() == "0.24", timeout=5000)
    assert "200 voxels on 1 slices" in table.item(0, 4).toolTip()


def test_removing_an_object_takes_its_voxels_and_undo_brings_both_back(panel, finish):
    draw(panel, 2, FIRST)
    panel.segment_range()
    finish(panel)
    panel.controls.table.selectRow(0)
    panel.controls.remove.click()
    assert not panel.workspace.labels_layer.layer.data.any()
    assert panel.workspace.box_layer.layer.nshapes == 0
    panel.undo()
    assert (panel.workspace.labels_layer.layer.data == 1).sum() == 200
    assert panel.workspace.box_layer.layer.nshapes == 1


def test_only_own_layers_have_the_keys_and_none_is_one_of_naparis(panel):
    from app_model.types import KeyBinding
    from napari.layers import Labels
    from napari.settings import get_settings

    from napari_qmedsam.gui.segment.keys import ACTIONS

    draw(panel, 2, FIRST)
    panel.workspace.refine(1, INSIDE)
    workspace = panel.workspace
    keys = {KeyBinding.from_str(action.key) for action in ACTIONS}
    assert len(keys) == len(ACTIONS)
    for layer in (
        workspace.box_layer.layer,
        workspace.refining["points"].layer,
        workspace.labels_layer.layer,
    ):
        assert keys <= set(layer.keymap)
    assert not keys & set(workspace.image.keymap)
    taken = {KeyBinding.from_str("Ctrl+Z"), KeyBinding.from_str("Ctrl+Shift+Z")}
    for cls in (Shapes, Points, Labels):
        taken |= set(cls.class_keymap)
    taken |= set(type(panel.viewer).class_keymap)
    others = ("image", "vectors", "tracks", "surface", "orient_plane", "auto_contrast")
    for name, bindings in get_settings().shortcuts.shortcuts.items():
        if not any(other in name for other in others):
            taken |= {KeyBinding.from_str(str(binding)) for binding in bindings}
    assert not keys & taken


def test_every_key_does_what_its_button_does(panel, finish, qtbot):
    from app_model.types import KeyBinding

    panel.workspace.view.go_to(2)
    layer = draw(panel, 2, FIRST)
    layer.keymap[KeyBinding.from_str("G")](layer)
    finish(panel)
    assert (panel.workspace.labels_layer.layer.data == 1).sum() == 200
    layer.keymap[KeyBinding.from_str("Q")](layer)
    assert not panel.workspace.labels_layer.layer.data.any()
    layer.keymap[KeyBinding.from_str("H")](layer)
    [dialog] = [w for w in panel.children() if type(w).__name__ == "HelpDialog"]
    assert "Segment the slice in view." in dialog.text.text()
    dialog.close()


def test_keys_go_with_the_panel(panel):
    layer = draw(panel, 2, FIRST)
    panel.close_down()
    assert not layer.keymap
