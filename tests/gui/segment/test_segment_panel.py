from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels, Layer
from napari.utils.notifications import notification_manager

from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.colours import colour_of
from napari_qmedsam.gui.shared.layers import RESULT, image_layer_data
from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.volume import Source, Volume
from napari_qmedsam.volumes.windows import CT_PRESETS, Window

pytestmark = pytest.mark.gui

FIRST = Box2D(3, 8, 27, 22)
SECOND = Box2D(18, 28, 42, 42)


def draw(panel, slice_index, box):
    """Add a rectangle as napari's tool would."""
    layer = panel.workspace.draw_boxes()
    layer.add_rectangles(rectangle(slice_index, box, 3))
    return layer


def last_message():
    return notification_manager.records[-1].message


def test_drawn_box_becomes_its_mask(panel, finish, drag):
    panel.workspace.view.go_to(2)
    drag(panel.workspace.draw_boxes(), 2, FIRST)
    panel.segment_slice()
    finish(panel)
    expected = np.zeros((6, 64, 48), int)
    expected[2, 10:20, 5:25] = 1
    np.testing.assert_array_equal(panel.workspace.labels_layer.layer.data, expected)
    assert panel.controls.runs.text().startswith("threshold · fake fp32 on CPU · ")


def test_labels_lie_exactly_on_the_image(panel, finish):
    draw(panel, 1, FIRST)
    panel.segment_range()
    finish(panel)
    image, labels = panel.workspace.image, panel.workspace.labels_layer.layer
    np.testing.assert_array_equal(labels.scale, image.scale)
    np.testing.assert_array_equal(labels.translate, image.translate)
    np.testing.assert_array_equal(np.asarray(labels.affine), np.asarray(image.affine))
    assert image.data_to_world((1, 2, 3)) == labels.data_to_world((1, 2, 3))


def test_objects_follow_their_rectangles(panel):
    layer = draw(panel, 1, FIRST)
    draw(panel, 1, SECOND)
    objects = panel.workspace.session.objects
    assert [o.name for o in objects.values()] == ["object 1", "object 2"]
    panel.edits.rename(2, "lesion")
    moved = layer.data
    moved[1] = rectangle(1, Box2D(0, 0, 10, 12), 3)
    layer.data = moved
    assert objects[2].box.in_plane == Box2D(0, 0, 10, 12)
    assert objects[2].name == "lesion"
    layer.selected_data = {0}
    layer.remove_selected()
    assert list(objects) == [2]
    assert panel.controls.table.rowCount() == 1
    draw(panel, 1, FIRST)
    assert list(objects) == [2, 3]
    np.testing.assert_allclose(layer.edge_color[1], colour_of(3), atol=1e-6)


def test_copied_rectangle_is_a_new_object(panel):
    layer = draw(panel, 0, FIRST)
    layer.add_rectangles(layer.data[0])
    table = layer.features.copy()
    table["object_id"] = 1
    layer.features = table
    panel.workspace.box_layer.read()
    assert list(layer.features["object_id"]) == [1, 2]


def test_range_reports_progress_and_undoes_as_one_step(panel, finish):
    draw(panel, 1, FIRST)
    draw(panel, 1, SECOND)
    # The slider counts the six slices from the last index.
    panel.controls.table.spin_boxes(1)[0].setValue(1)
    panel.controls.table.spin_boxes(2)[1].setValue(5)
    seen = []
    panel.controls.progress.valueChanged.connect(seen.append)
    panel.controls.table.selectAll()
    panel.segment_range()
    finish(panel)
    labels = panel.workspace.labels_layer.layer.data
    assert sorted(np.flatnonzero((labels == 1).any((1, 2)))) == [1, 2, 3, 4]
    assert sorted(np.flatnonzero((labels == 2).any((1, 2)))) == [0, 1]
    assert {1, 2, 3, 4, 5} <= set(seen)
    after = labels.copy()
    assert panel.controls.undo.isEnabled()
    assert not panel.controls.redo.isEnabled()
    panel.controls.undo.click()
    assert not labels.any()
    panel.controls.redo.click()
    np.testing.assert_array_equal(labels, after)


def test_several_steps_are_undone_and_redone(panel, finish):
    draw(panel, 1, FIRST)
    labels = panel.workspace.show_labels().data
    states = [labels.copy()]
    for slice_index in (1, 2, 3):
        if slice_index > 1:
            panel.edits.set_range(1, slice_index, slice_index + 1)
        panel.segment_range()
        finish(panel)
        states.append(labels.copy())
    for state in states[-2::-1]:
        panel.undo()  # the labels
        np.testing.assert_array_equal(labels, state)
        panel.undo()  # the slices of the box
    assert panel.workspace.session.objects == {}
    assert panel.workspace.box_layer.layer.nshapes == 0
    assert not panel.controls.undo.isEnabled()
    panel.redo()
    for state in states[1:]:
        panel.redo()
        np.testing.assert_array_equal(labels, state)
        panel.redo()


def test_cancel_keeps_whole_slices(panel, backend, finish, qtbot, hold):
    hold(backend, panel.worker, after=4)
    draw(panel, 0, FIRST)
    panel.edits.set_range(1, 0, 6)
    panel.segment_range()
    qtbot.waitUntil(lambda: panel.controls.progress.value() >= 2, timeout=20_000)
    panel.controls.cancel.click()
    finish(panel)
    labels = panel.workspace.labels_layer.layer.data
    done = np.flatnonzero(labels.any(axis=(1, 2)))
    assert 2 <= len(done) < 6
    expected = np.zeros((64, 48), int)
    expected[10:20, 5:25] = 1
    for slice_index in done:
        np.testing.assert_array_equal(labels[slice_index], expected)
    # The slider counts the six slices the other way round.
    assert panel.controls.status.text() == f"Cancelled at slice {5 - done[-1]}."
    panel.undo()
    assert not labels.any()


def test_saved_labels_have_the_affine_of_the_volume(panel, volume, finish, tmp_path):
    draw(panel, 2, FIRST)
    panel.segment_range()
    finish(panel)
    path = tmp_path / "labels.nii.gz"
    panel.save_labels(path)
    finish(panel)
    saved = nib.load(path)
    np.testing.assert_allclose(saved.affine, volume.affine, atol=1e-6)
    shown = panel.workspace.labels_layer.layer.data
    np.testing.assert_array_equal(np.asarray(saved.dataobj).T, shown)


def test_the_name_that_is_proposed_is_never_that_of_a_reference(
    panel, finish, tmp_path, monkeypatch
):
    source = Source(str(tmp_path / "scan.nii.gz"), "nifti")
    panel.workspace.session.volume = replace(
        panel.workspace.session.volume, source=source
    )
    draw(panel, 2, FIRST)
    panel.segment_range()
    finish(panel)
    asked = []
    monkeypatch.setattr(
        "napari_qmedsam.gui.segment.labels_export.QFileDialog.getSaveFileName",
        lambda parent, title, start, filters: asked.append(start) or ("", ""),
    )
    panel.save_labels()
    (tmp_path / "scan_labels.nii.gz").touch()
    panel.save_labels()
    (tmp_path / "scan_labels_2.nii.gz").touch()
    panel.save_labels()
    assert [path.rpartition("/")[2] for path in asked] == [
        "scan_labels.nii.gz",
        "scan_labels_2.nii.gz",
        "scan_labels_3.nii.gz",
    ]


def test_without_box_the_error_is_a_notification(panel):
    """Its slice is that of the slider, which counts against the array."""
    panel.workspace.view.go_to(1)
    panel.segment_slice()
    assert last_message() == (
        f"There is no box on slice {panel.viewer.dims.current_step[0]} to segment. "
        "Draw one first."
    )
    assert panel.controls.status.text() == last_message()
    panel.save_labels("x.nii.gz")
    assert last_message() == "There are no labels to save. Segment a box first."


def test_work_on_objects_is_offered_once_there_is_one(panel):
    controls = panel.controls
    buttons = controls.on_slice, controls.on_range, controls.up, controls.down
    assert not any(button.isEnabled() for button in buttons)
    draw(panel, 2, FIRST)
    assert all(button.isEnabled() for button in buttons)


def test_box_outside_is_refused_and_taken_away(panel):
    layer = draw(panel, 2, Box2D(60, 8, 70, 22))
    assert "lies outside" in last_message()
    assert panel.controls.status.text() == last_message()
    assert layer.nshapes == 0
    draw(panel, 2, Box2D(4.0, 4.0, 4.1, 4.1))
    assert "smaller than a voxel" in last_message()
    assert not panel.workspace.session.objects


def test_box_moved_away_has_no_object_until_it_is_back(panel):
    layer = draw(panel, 2, FIRST)
    layer.data = [rectangle(2, Box2D(90, 8, 99, 22), 3)]
    assert not panel.workspace.session.objects
    layer.data = [rectangle(2, SECOND, 3)]
    assert panel.workspace.session.objects[1].box.in_plane == SECOND


def test_failed_loading_is_a_notification(panel, finish):
    from napari_qmedsam.errors import BadCheckpoint

    def fail(*_):
        raise BadCheckpoint("There is no weights file 'x'.")

    panel.runner.models.load = fail
    draw(panel, panel.workspace.view.slice_index, FIRST)
    panel.segment_slice()
    finish(panel)
    assert last_message() == "There is no weights file 'x'."
    assert panel.controls.status.text() == last_message()
    assert panel.controls.on_slice.isEnabled()


def test_window_and_contrast_limits_are_one(panel):
    image = panel.workspace.image
    assert panel.controls.window_form.preset.currentText() == "soft tissue"
    image.contrast_limits = (-450, 1050)
    assert panel.controls.window_form.preset.currentText() == "bone"
    assert panel.workspace.window() == CT_PRESETS["bone"]
    panel.controls.window_form.brightest.setValue(900)
    assert tuple(image.contrast_limits) == (-450, 900)
    assert panel.controls.window_form.preset.currentText() == "custom"
    panel.controls.window_form.darkest.setValue(1000)
    assert "must be below" in last_message()
    assert panel.workspace.window() == Window(-450, 900)
    assert panel.controls.window_form.darkest.value() == -450


def test_protected_labels_stay(panel, finish):
    labels = panel.workspace.show_labels()
    labels.data[2, 10:15, :] = 7
    draw(panel, 2, FIRST)
    panel.controls.protect.setChecked(True)
    panel.segment_range()
    finish(panel)
    assert (labels.data[2, 10:15] == 7).all()
    assert (labels.data[2, 15:20, 5:25] == 8).all()


@pytest.mark.parametrize("edit_dimensions", [2, 3])
def test_brush_strokes_are_steps_of_undo(panel, finish, edit_dimensions):
    draw(panel, 2, FIRST)
    panel.segment_range()
    finish(panel)
    labels = panel.workspace.labels_layer.layer
    before = labels.data.copy()
    labels.n_edit_dimensions, labels.brush_size = edit_dimensions, 20
    with labels.block_history():
        labels.paint((2, 40, 10), 1)
        labels.paint((2, 41, 12), 1)
    painted = labels.data.copy()
    slices = (painted != before).any(axis=(1, 2)).sum()
    assert slices > 1 if edit_dimensions == 3 else slices == 1
    panel.undo()
    np.testing.assert_array_equal(labels.data, before)
    assert panel.workspace.session.objects
    panel.redo()
    np.testing.assert_array_equal(labels.data, painted)


def test_a_fill_of_a_flat_picture_is_undone(viewer, dock, backend):
    viewer.add_image(np.random.default_rng(0).random((64, 64)), name="flat")
    panel = dock(SegmentPanel(viewer, load=lambda *_: backend))
    try:
        labels = panel.workspace.show_labels()
        labels.fill((3, 3), 5)
        assert (labels.data == 5).all()
        panel.undo()
        assert not labels.data.any()
    finally:
        panel.close_down()


def test_brush_strokes_survive_segmentation_and_undo(panel, finish):
    labels = panel.workspace.show_labels()
    labels.paint((2, 60, 40), 9)
    draw(panel, 2, FIRST)
    panel.segment_range()
    finish(panel)
    assert labels.data[2, 60, 40] == 9
    panel.undo()
    assert labels.data[2, 60, 40] == 9
    assert set(np.unique(labels.data)) == {0, 9}


def test_replaced_labels_array_is_painted_from_then_on(panel, finish):
    labels = panel.workspace.show_labels()
    labels.data = np.zeros((6, 64, 48), np.uint8)
    draw(panel, 2, FIRST)
    panel.segment_range()
    finish(panel)
    assert (labels.data == 1).sum() == 200


def test_each_image_has_its_session(panel, volume, finish):
    draw(panel, 2, FIRST)
    first = panel.workspace
    other = Volume(volume.array[::-1].copy(), volume.spacing_mm, volume.affine)
    layer = panel.viewer.add_layer(Layer.create(*image_layer_data(other, "other")))
    panel.workspaces.images.choose(layer)
    assert panel.workspace is not first
    assert panel.controls.table.rowCount() == 0
    layer.name = "renamed"
    assert panel.controls.image.currentText() == "renamed"
    panel.workspaces.images.choose(first.image)
    assert panel.workspace is first
    assert panel.controls.table.rowCount() == 1


def test_layers_may_be_deleted(panel, finish):
    draw(panel, 2, FIRST)
    panel.segment_range()
    finish(panel)
    workspace, layers = panel.workspace, panel.viewer.layers
    layers.remove(workspace.labels_layer.layer)
    assert not workspace.session.labels.any()
    assert panel.controls.undo.isEnabled()
    layers.remove(workspace.box_layer.layer)
    assert not workspace.session.objects
    layers.remove(workspace.image)
    assert panel.workspace is None
    panel.segment_slice()
    assert last_message().startswith("There is no image to segment.")


def test_reopened_panel_finds_boxes_and_labels(panel, backend, finish):
    draw(panel, 2, FIRST)
    panel.edits.rename(1, "bar")
    panel.edits.set_range(1, 1, 5)
    panel.segment_range()
    finish(panel)
    panel.close_down()
    again = SegmentPanel(panel.viewer, load=lambda *_: backend)
    try:
        found = again.workspace.session.objects[1]
        assert (found.name, found.box.z_min, found.box.z_max) == ("bar", 1, 5)
        assert again.workspace.session.labels.any()
    finally:
        again.close_down()
        again.deleteLater()


def test_plain_2d_image_is_segmented(viewer, dock, backend, finish):
    image = np.zeros((64, 48), np.float32)
    image[10:20, 5:25] = 1
    viewer.add_image(image, scale=(0.5, 2))
    panel = dock(SegmentPanel(viewer, load=lambda *_: backend))
    panel.workspace.draw_boxes().add_rectangles(rectangle(0, FIRST, 2))
    panel.segment_slice()
    finish(panel)
    np.testing.assert_array_equal(
        panel.workspace.labels_layer.layer.data, image.astype(int)
    )
    panel.close_down()


def test_closing_the_window_during_work_ends_it(
    window, panel, backend, qtbot, told_to_stop, hold
):
    hold(backend, panel.worker, after=1)
    draw(panel, 0, FIRST)
    panel.edits.set_range(1, 0, 6)
    panel.segment_range()
    qtbot.waitUntil(lambda: backend.encoded >= 1, timeout=20_000)
    with told_to_stop(panel.worker):
        window.close()
    assert backend.encoded < 6


def test_closing_the_dock_during_work_ends_it(
    window, panel, backend, qtbot, told_to_stop, hold
):
    hold(backend, panel.worker, after=1)
    draw(panel, 0, FIRST)
    panel.edits.set_range(1, 0, 6)
    panel.segment_range()
    qtbot.waitUntil(lambda: backend.encoded >= 1, timeout=20_000)
    with told_to_stop(panel.worker):
        window.window.remove_dock_widget(panel)
    (labels,) = (x for x in panel.viewer.layers if isinstance(x, Labels))
    assert labels.metadata[RESULT]
