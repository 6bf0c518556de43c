"""What the panel shows, remembers and gives back; layers that go, second viewers."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.errors import DownloadFailed
from napari_qmedsam.gui.samples import BOXED_ORGANS, labelled_ct_phantom
from napari_qmedsam.gui.segment.preview import ModelInput
from napari_qmedsam.gui.segment.segment_controls import SegmentChoices
from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.icons import icon, theme_ink
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.gui.shared.loading import Downloading, ModelChoice
from napari_qmedsam.gui.shared.panel_choices import recall
from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.models.configuration import CONFIGS
from napari_qmedsam.preprocessing import SliceGeometry, slice_image
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime import BackendName, Precision, Runtime
from napari_qmedsam.volumes import read_labels
from napari_qmedsam.volumes.windows import CT_PRESETS

pytestmark = pytest.mark.gui

FIRST = Box2D(3, 8, 27, 22)


def draw(panel, slice_index, box=FIRST):
    layer = panel.workspace.draw_boxes()
    layer.add_rectangles(rectangle(slice_index, box, 3))
    return layer


def another(panel, backend):
    """Another panel on the same viewer, as after a restart."""
    panel.close_down()
    return SegmentPanel(panel.viewer, load=lambda *_: backend)


def is_idle(panel):
    return not panel.autosaver.is_busy


# Preview ------------------------------------------------------------------


def test_preview_is_what_the_model_is_given(panel, volume, backend, finish, qtbot):
    given = []
    encode = backend.encode
    backend.encode = lambda x: given.append(x) or encode(x)
    panel.workspace.image.contrast_limits = (50, 260)
    panel.workspace.view.go_to(3)
    draw(panel, 3)
    panel.segment_slice()
    finish(panel)
    expected = np.rint(255 * given[0]).astype(np.uint8).transpose(1, 2, 0)

    def shows_it():
        picture = panel.controls.preview.pixels
        assert picture is not None
        assert np.array_equal(picture, expected)

    qtbot.waitUntil(shows_it, timeout=5000)


@pytest.mark.parametrize("model", ["demo", "medsam_vit_b"])
def test_preview_of_a_view_uses_the_models_own_steps(volume, model):
    config, window = CONFIGS[model], CT_PRESETS["bone"]
    picture = ModelInput(volume, 0, 2, window, config).picture()
    geometry = SliceGeometry.of(config, *volume.shape[1:])
    prepared = geometry.prepare(slice_image(volume.array, 2, window))
    assert picture.shape == (config.input_size, config.input_size, 3)
    assert np.abs(picture.transpose(2, 0, 1) / 255 - prepared).max() <= 0.5001 / 255


# Between starts -----------------------------------------------------------


def test_choices_are_remembered(panel, backend):
    controls = panel.controls
    controls.models.choose("demo", "torch", "int8")
    controls.protect.setChecked(True)
    controls.follow.setCurrentIndex(1)
    controls.follow.activated.emit(1)
    again = another(panel, backend)
    try:
        choice = again.controls.models.choice()
        assert choice == ModelChoice(
            "demo", Runtime(BackendName.TORCH, precision=Precision.INT8)
        )
        assert again.controls.protect.isChecked()
        assert not again.controls.automatic.isChecked()
        assert again.controls.follow.currentIndex() == 1
    finally:
        again.close_down()
        again.deleteLater()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"model": 3, "automatic": "yes", "other": 1}']
)
def test_damaged_memories_are_forgotten(tmp_path, monkeypatch, text):
    monkeypatch.setenv("QMEDSAM_HOME", str(tmp_path))
    path = tmp_path / "state" / "segment-panel.json"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    known = recall(SegmentChoices)
    assert (known.model, known.automatic) == ("auto", True)


def test_unsaved_work_is_offered_and_restored(
    panel, volume, backend, finish, qtbot, dock
):
    draw(panel, 2)
    panel.edits.rename(1, "bar")
    panel.segment_range()
    finish(panel)
    painted = panel.workspace.labels_layer.layer.data.copy()
    panel.close_down()
    viewer = ViewerModel()
    viewer.add_layer(
        Layer.create(*image_layer_data(volume.with_array(volume.array), "b"))
    )
    again = dock(SegmentPanel(viewer, load=lambda *_: backend))
    try:
        bar = again.recovery
        qtbot.waitUntil(lambda: not bar.isHidden(), timeout=5000)
        assert "1 object" in bar.text.text()
        bar.take.click()
        assert bar.isHidden()
        assert [o.name for o in again.workspace.session.objects.values()] == ["bar"]
        np.testing.assert_array_equal(again.workspace.labels_layer.layer.data, painted)
        assert again.workspace.box_layer.layer.nshapes == 1
        assert again.workspace.autosave.left_behind() is None
    finally:
        again.close_down()


def test_work_is_kept_on_disk_soon_after_a_change(panel, finish, qtbot):
    draw(panel, 2)
    panel.segment_range()
    finish(panel)
    path = panel.workspace.autosave.path
    assert not path.exists()
    panel.autosaver.autosave()
    qtbot.waitUntil(lambda: path.exists() and is_idle(panel), timeout=5000)
    written = path.stat().st_mtime_ns
    panel.autosaver.autosave()  # nothing has changed
    assert is_idle(panel)
    assert path.stat().st_mtime_ns == written


def test_saved_labels_are_the_file_and_leave_nothing_to_recover(
    panel, volume, finish, tmp_path
):
    draw(panel, 2)
    panel.segment_range()
    finish(panel)
    assert panel.workspace.is_unsaved
    panel.save_labels(tmp_path / "labels.nii.gz")
    finish(panel)
    assert not panel.workspace.is_unsaved
    saved = read_labels(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(saved.array, panel.workspace.labels_layer.layer.data)
    panel.close_down()
    assert not list((tmp_path / "home").rglob("*.npz"))


# Models -------------------------------------------------------------------


def test_it_says_what_is_chosen_before_and_what_runs_after_loading(panel, finish):
    runs = panel.controls.runs
    assert runs.text().startswith("demo on openvino: not loaded yet · 10.")
    panel.controls.models.load.click()
    finish(panel)
    assert runs.text().startswith("threshold · fake fp32 on CPU · ")
    panel.controls.models.choose("medsam_vit_b")
    assert runs.text().startswith("medsam_vit_b on openvino: to be downloaded")


def test_a_download_shows_its_progress_and_can_be_cancelled(panel, finish, qtbot):
    started = threading.Event()

    def load(choice, report):
        report(Downloading(25_000_000, 100_000_000))
        started.set()
        while True:
            started.wait(0.01)
            check_cancelled()

    panel.runner.models.load = load
    panel.controls.models.load.click()
    progress = panel.controls.progress
    qtbot.waitUntil(lambda: progress.value() == 250, timeout=5000)
    assert panel.controls.status.text() == "Downloading 25 of 100 MB…"
    panel.controls.cancel.click()
    finish(panel)
    assert panel.controls.status.text() == "Cancelled."
    assert panel.controls.models.load.isEnabled()


def test_a_failed_download_says_why(panel, finish):
    def load(*_):
        raise DownloadFailed("Could not download LiteMedSAM: no connection.")

    panel.runner.models.load = load
    panel.load_model()
    finish(panel)
    message = notification_manager.records[-1].message
    assert message == "Could not download LiteMedSAM: no connection."


def test_boxes_do_not_start_a_download_by_themselves(panel):
    panel.controls.automatic.setChecked(True)
    panel.controls.models.choose("medsam_vit_b")
    draw(panel, 2)
    assert not panel.work.is_busy
    assert panel.controls.status.text().startswith("Press Load to download")


# Layers, viewers, themes --------------------------------------------------


def test_renamed_layers_stay_the_panels_own(panel, finish):
    layer = draw(panel, 2)
    layer.name, panel.workspace.image.name = "my boxes", "scan"
    assert panel.controls.image.currentText() == "scan"
    panel.segment_range()
    finish(panel)
    panel.workspace.labels_layer.layer.name = "mine"
    panel.undo()
    assert not panel.workspace.labels_layer.layer.data.any()


def test_boxes_of_a_removed_layer_come_back_by_undo(panel):
    draw(panel, 2)
    panel.viewer.layers.remove(panel.workspace.box_layer.layer)
    assert not panel.workspace.session.objects
    panel.undo()
    assert panel.workspace.box_layer.layer.nshapes == 1
    assert panel.workspace.box_layer.layer in panel.viewer.layers


def test_two_viewers_work_side_by_side(
    window, panel, volume, backend, finish, make_napari_viewer
):
    viewer = make_napari_viewer()
    viewer.add_layer(Layer.create(*image_layer_data(volume, "bars")))
    other = SegmentPanel(viewer, load=lambda *_: backend)
    other.controls.automatic.setChecked(False)
    viewer.window.add_dock_widget(other)
    draw(panel, 2)
    draw(other, 4)
    for each in (panel, other):
        each.segment_range()
    for each in (panel, other):
        finish(each)
    filled = [
        np.flatnonzero(p.workspace.labels_layer.layer.data.any((1, 2))).tolist()
        for p in (panel, other)
    ]
    assert filled == [[2], [4]]
    viewer.close()
    panel.undo()
    assert not panel.workspace.labels_layer.layer.data.any()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_icons_can_be_seen_in_the_theme(panel, theme):
    panel.viewer.theme = theme
    ink = theme_ink(theme)
    image = icon("locked", ink).pixmap(32, 32).toImage()
    colours = [image.pixelColor(x, 20) for x in range(32)]
    inked = [c for c in colours if c.alpha() == 255]
    assert inked
    is_bright = [c.lightness() > 128 for c in inked]
    assert all(is_bright) if theme == "dark" else not any(is_bright)
    button = panel.controls.undo
    shown = button.icon().pixmap(15, 15).toImage()
    assert any(shown.pixelColor(x, y).alpha() > 0 for x in range(15) for y in range(15))


def test_scan_and_masks_are_seen_in_3d_by_one_choice(panel):
    view, dims = panel.controls.view, panel.viewer.dims
    view.setCurrentText("3D")
    view.activated.emit(view.currentIndex())
    assert dims.ndisplay == 3
    assert view.currentText() == "3D"
    view.setCurrentText("coronal")
    view.activated.emit(view.currentIndex())
    assert dims.ndisplay == 2
    assert panel.workspace.view.axis == 1
    dims.ndisplay = 3  # by napari's own button
    assert view.currentText() == "3D"


def test_every_control_has_a_tooltip_of_a_sentence(panel):
    from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QPushButton

    found = [
        control
        for kind in (QCheckBox, QComboBox, QDoubleSpinBox, QPushButton)
        for control in panel.findChildren(kind)
    ]
    assert len(found) > 25
    for control in found:
        assert control.toolTip().endswith("."), control.objectName()


def test_an_image_that_cannot_be_segmented_leaves_nothing_of_the_last(panel):
    controls = panel.controls
    assert controls.view.count() == 4  # three axes, and 3D
    panel.viewer.add_image(np.zeros((2, 6, 64, 48)), name="frames")
    panel.workspaces.images.choose(panel.viewer.layers["frames"])
    assert panel.workspace is None
    assert "has 4 axes" in controls.status.text()
    assert controls.view.count() == controls.window_form.preset.count() == 0
    assert not controls.draw.isEnabled()
    assert not controls.window_form.isEnabled()
    panel.workspaces.images.choose(panel.viewer.layers["bars"])
    assert controls.view.count() == 4  # three axes, and 3D
    assert controls.window_form.isEnabled()


def test_sample_opens_where_its_boxes_are(viewer):
    for data in labelled_ct_phantom():
        viewer.add_layer(Layer.create(*data))
    slices = [corners[0][0] for corners in viewer.layers["CT phantom boxes"].data]
    assert slices.count(viewer.dims.current_step[0]) >= 3


def test_sample_opened_after_the_panel_brings_its_boxes(viewer, dock, panel):
    assert not panel.workspace.session.objects
    for data in labelled_ct_phantom():
        viewer.add_layer(Layer.create(*data))
    assert panel.workspace.image.name == "CT phantom"
    assert panel.controls.image.currentText() == "CT phantom"
    assert len(panel.workspace.session.objects) == len(BOXED_ORGANS)
    assert panel.controls.table.rowCount() == len(BOXED_ORGANS)
    assert not panel.work.is_busy


def test_the_first_box_leaves_an_offered_recovery_there(panel):
    turned = []
    panel.workspaces.turned.connect(lambda: turned.append(True))
    panel.workspace.draw_boxes()
    assert not turned


def left_unsaved(panel, finish):
    """Segment a range and close the panel without saving; return the labels."""
    draw(panel, 2)
    panel.segment_range()
    finish(panel)
    painted = panel.workspace.labels_layer.layer.data.copy()
    panel.close_down()
    return painted


def test_a_panel_opened_again_is_not_offered_its_own_work(
    panel, backend, finish, qtbot, dock
):
    left_unsaved(panel, finish)
    again = dock(SegmentPanel(panel.viewer, load=lambda *_: backend))
    try:
        qtbot.waitUntil(lambda: is_idle(again), timeout=5000)
        qtbot.wait(200)
        assert again.recovery.isHidden()
        assert len(again.workspace.session.objects) == 1
    finally:
        again.close_down()


def test_an_offer_waits_while_another_image_is_looked_at_and_is_undone(
    panel, volume, backend, finish, qtbot, dock
):
    left_unsaved(panel, finish)
    viewer = ViewerModel()
    copy = volume.with_array(volume.array)
    viewer.add_layer(Layer.create(*image_layer_data(copy, "bars")))
    viewer.add_image(np.zeros((6, 64, 48)), name="other")
    again = dock(SegmentPanel(viewer, load=lambda *_: backend))
    again.controls.automatic.setChecked(False)
    try:
        qtbot.waitUntil(lambda: not again.recovery.isHidden(), timeout=5000)
        again.workspaces.images.choose(viewer.layers["other"])
        assert again.recovery.isHidden()
        again.workspaces.images.choose(viewer.layers["bars"])
        assert not again.recovery.isHidden()
        draw(again, 3)
        draw(again, 4)
        with answered(qtbot, QMessageBox.StandardButton.Yes):
            again.recovery.take.click()
        assert len(again.workspace.session.objects) == 1
        again.undo()
        assert len(again.workspace.session.objects) == 2
        assert not again.workspace.labels_layer.layer.data.any()
    finally:
        again.close_down()


@contextmanager
def answered(qtbot, button):
    """Press a button of the question that is asked in a block."""
    asked = []

    def press():
        dialog = QApplication.activeModalWidget()
        asked.append(dialog.text())
        qtbot.mouseClick(dialog.button(button), Qt.MouseButton.LeftButton)

    QTimer.singleShot(100, press)
    yield
    assert asked


def test_restoring_over_new_work_asks_and_loses_neither(
    panel, volume, backend, finish, qtbot, dock
):
    painted = left_unsaved(panel, finish)
    viewer = ViewerModel()
    copy = volume.with_array(volume.array)
    viewer.add_layer(Layer.create(*image_layer_data(copy, "bars")))
    again = dock(SegmentPanel(viewer, load=lambda *_: backend))
    again.controls.automatic.setChecked(False)
    left = Qt.MouseButton.LeftButton
    try:
        bar = again.recovery
        qtbot.waitUntil(lambda: not bar.isHidden(), timeout=5000)
        again.show()
        draw(again, 4)
        again.segment_range()
        finish(again)
        new = again.workspace.session.labels.copy()
        left_behind = again.workspace.recovery.path
        with answered(qtbot, QMessageBox.StandardButton.Cancel):
            qtbot.mouseClick(bar.take, left)
        np.testing.assert_array_equal(again.workspace.session.labels, new)
        assert not bar.isHidden()
        with answered(qtbot, QMessageBox.StandardButton.Yes):
            qtbot.mouseClick(bar.take, left)
        np.testing.assert_array_equal(again.workspace.session.labels, painted)
        assert left_behind.exists()  # until the autosave holds it
        again.autosaver.autosave()
        qtbot.waitUntil(lambda: not left_behind.exists(), timeout=5000)
        assert again.workspace.autosave.path.exists()
        again.undo()
        np.testing.assert_array_equal(again.workspace.session.labels, new)
    finally:
        again.close_down()


def test_a_deleted_labels_layer_leaves_its_masks_on_disk_and_to_undo(
    panel, finish, qtbot
):
    draw(panel, 2)
    panel.segment_range()
    finish(panel)
    painted = panel.workspace.session.labels.copy()
    path = panel.workspace.autosave.path
    panel.autosaver.autosave()
    qtbot.waitUntil(lambda: path.exists() and is_idle(panel), timeout=5000)
    panel.viewer.layers.remove(panel.workspace.labels_layer.layer)
    assert not panel.workspace.session.labels.any()
    panel.edits.rename(1, "bar")
    panel.autosaver.autosave()
    qtbot.waitUntil(lambda: is_idle(panel), timeout=5000)
    with np.load(path) as file:
        np.testing.assert_array_equal(file["labels"], painted[file["slices"]])
    panel.undo()
    shown = panel.workspace.labels_layer.layer
    assert shown in panel.viewer.layers
    np.testing.assert_array_equal(shown.data, painted)


def test_work_on_an_image_that_is_removed_is_offered_when_it_is_back(
    panel, volume, finish, qtbot
):
    draw(panel, 2)
    panel.segment_range()
    finish(panel)
    path = panel.workspace.autosave.path
    panel.viewer.layers.remove("bars")
    qtbot.waitUntil(lambda: path.exists() and is_idle(panel), timeout=5000)
    copy = volume.with_array(volume.array)
    panel.viewer.add_layer(Layer.create(*image_layer_data(copy, "back")))
    panel.workspaces.images.choose(panel.viewer.layers["back"])
    qtbot.waitUntil(lambda: not panel.recovery.isHidden(), timeout=5000)
