"""The panel Compare over bars that one variant sees whole and the other in part."""

import csv
import io
import threading
from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Image, Labels, Layer
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QComboBox, QPushButton

from napari_qmedsam.evaluation.variants import Variant
from napari_qmedsam.gui.compare.compare_controls import AROUND, DIVIDER_STEPS, SLICE
from napari_qmedsam.gui.compare.compare_panel import ComparePanel
from napari_qmedsam.gui.compare.comparison_layers import TRUTH, MaskView
from napari_qmedsam.gui.compare.swipe import DIVIDER
from napari_qmedsam.gui.shared.canvas import grid_of, text_of
from napari_qmedsam.gui.shared.layers import (
    RESULT,
    image_layer_data,
    is_scan,
    labels_layer_data,
)
from napari_qmedsam.gui.shared.navigation import SliceView
from napari_qmedsam.gui.shared.rectangles import DrawnBox, box_layer_data
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.volumes.segments import Segment

pytestmark = pytest.mark.gui

WHOLE = Variant("tiny FP32", "whole", architecture="tiny", file_bytes=4_000_000)
LOSSY = Variant(
    "tiny 2-bit rtn",
    "lossy",
    architecture="tiny",
    method="rtn",
    bit_widths=(2,),
    effective_bits=2.5,
    file_bytes=500_000,
)


@pytest.fixture
def backends(backend):
    """Models by name; the lossy one sees only what is brighter than on slice 3."""

    class Lossy(type(backend)):
        def decode(self, image_embedding, boxes):
            logits = super().decode(image_embedding, boxes)
            if self.encoded == 5:  # a warm-up, then slices 1 to 4: this is slice 4
                logits[:, :, 10:15] = -9.0
            return logits

    return {"whole": backend, "lossy": Lossy()}


@pytest.fixture
def panel(viewer, dock, volume, backends):
    reference = np.zeros(volume.shape, np.uint8)
    reference[1:5, 10:20, 5:25] = 3
    boxes = [DrawnBox(1, "bar", Box3D(3, 8, 1, 27, 22, 5), 2)]
    for layer in (
        image_layer_data(volume, "bars"),
        labels_layer_data(reference, volume, "truth"),
        box_layer_data(boxes, volume, "boxes"),
    ):
        viewer.add_layer(Layer.create(*layer))

    def load(choice, report):
        backends[choice.model].encoded = 0
        return backends[choice.model]

    panel = dock(ComparePanel(viewer, load))
    for variant in (WHOLE, LOSSY):
        panel.state.variants.add(variant)
    panel.state.variants_changed.emit()
    yield panel
    panel.close_down()
    if panel.views.layers is not None:
        panel.views.layers._timer.stop()


@pytest.fixture
def finish(qtbot):
    def wait(panel):
        qtbot.waitUntil(lambda: not panel.worker.is_busy, timeout=20_000)

    return wait


@pytest.fixture
def compared(panel, finish):
    panel.compare()
    finish(panel)
    return panel


def last_message():
    return notification_manager.records[-1].message


def text(panel, name, column):
    table = panel.controls.table
    titles = [table.horizontalHeaderItem(i).text() for i in range(table.columnCount())]
    (row,) = (r for r in range(table.rowCount()) if table.item(r, 0).text() == name)
    return table.item(row, titles.index(column)).text()


# What the slider shows on each of the six slices, against which the array runs.
SLIDER = (5, 4, 3, 2, 1, 0)

# Slice 4 loses 50 of 200 voxels; of 800 voxels in all 750 are left.
DSC = 100 * 2 * 750 / (750 + 800)


def test_table_shows_scores_and_change(compared):
    assert text(compared, WHOLE.name, "DSC") == "100.00"
    assert text(compared, LOSSY.name, "DSC") == f"{DSC:.2f}"
    assert text(compared, LOSSY.name, "Δ FP32") == f"{DSC - 100:+.2f}"
    assert text(compared, LOSSY.name, "Eff. bits") == "2.50"
    assert text(compared, LOSSY.name, "MB") == "0.50"
    assert float(text(compared, LOSSY.name, "ms")) >= 0
    assert compared.controls.status.text() == (
        "1 object on slices 1 to 4; NSD of 3D surfaces with a tolerance of 2 mm, "
        "spacing 3 x 0.5 x 0.8 mm (z, y, x)."
    )
    assert compared.controls.spacing.text() == "spacing 3 × 0.5 × 0.8 mm"
    assert compared.state.variants[LOSSY.name].milliseconds_per_slice is not None


def test_slices_are_told_as_the_slider_counts_them(panel, finish, tmp_path):
    said = []
    panel.work.said.connect(said.append)
    panel.compare()
    finish(panel)
    told = [text.split()[-1] for text in said if text.startswith(f"{WHOLE.name}: sl")]
    assert told == [str(SLIDER[z]) for z in (1, 2, 3, 4)]
    panel.export.copy_csv()
    rows = list(csv.DictReader(io.StringIO(QApplication.clipboard().text())))
    assert rows[1]["worst slice"] == str(SLIDER[4])
    panel.viewer.dims.set_current_step(0, SLIDER[4])
    assert SliceView(panel.viewer, panel.viewer.layers["bars"]).place == (0, 4)


def test_the_change_says_whether_it_is_enough_by_object(compared):
    table = compared.controls.table
    tips = {table.item(row, 0).text(): table.item(row, 7).toolTip() for row in range(2)}
    assert tips[WHOLE.name] == ""
    assert "it cannot be said with 1 object" in tips[LOSSY.name]
    assert tips[LOSSY.name].endswith("it says nothing of other patients.")


def test_rows_sort_by_number(compared):
    table = compared.controls.table
    table.sortItems(5, Qt.SortOrder.AscendingOrder)
    assert [table.item(r, 0).text() for r in range(2)] == [LOSSY.name, WHOLE.name]
    table.sortItems(3, Qt.SortOrder.DescendingOrder)
    assert [table.item(r, 0).text() for r in range(2)] == [WHOLE.name, LOSSY.name]


def test_scores_are_in_sight_in_a_narrow_panel(compared):
    table = compared.controls.table
    table.setFixedWidth(300)
    header = table.horizontalHeader()
    titles = [table.horizontalHeaderItem(i).text() for i in range(table.columnCount())]
    for title in ("DSC", "NSD", "Δ FP32"):
        column = titles.index(title)
        end = header.sectionViewportPosition(column) + header.sectionSize(column)
        assert end <= 300


def test_long_names_take_a_second_line(panel):
    table = panel.controls.table
    long = replace(LOSSY, name="tiny 4-bit P-COMQ of elements, sorted by size " * 3)
    panel.state.variants.add(long)
    panel.state.variants_changed.emit()
    heights = {table.item(r, 0).text(): table.rowHeight(r) for r in range(3)}
    assert heights[long.name] > heights[WHOLE.name]


def test_selected_row_goes_to_its_worst_slice(compared):
    viewer, image = compared.viewer, compared.views.layers.image
    SliceView(viewer, image).go_to(0, 0)
    table = compared.controls.table
    (row,) = (r for r in range(2) if table.item(r, 0).text() == LOSSY.name)
    table.selectRow(row)
    assert SliceView(viewer, image).place == (0, 4)
    dsc = 100 * 2 * 150 / (150 + 200)
    assert compared.controls.status.text() == (
        f"{LOSSY.name} does worst on slice {SLIDER[4]}: DSC {dsc:.1f} %."
    )


def test_views_across_other_axes_are_found_again(panel):
    image = panel.viewer.layers["bars"]
    SliceView(panel.viewer, image).go_to(13, 1)
    assert SliceView(panel.viewer, image).place == (1, 13)
    SliceView(panel.viewer, image).go_to(2, 0)
    assert SliceView(panel.viewer, image).place == (0, 2)


def test_only_ticked_variants_run(panel, finish, backends):
    table = panel.controls.table
    table.item(1, 0).setCheckState(Qt.CheckState.Unchecked)
    panel.compare()
    finish(panel)
    assert list(panel.views.comparison.results) == [WHOLE.name]
    assert text(panel, LOSSY.name, "DSC") == ""
    assert backends["lossy"].encoded == 0
    panel.views.show_differences()
    assert last_message() == "It takes two variants to see a difference."
    table.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    panel.compare()
    assert last_message().startswith("Tick at least one variant; ")


def test_this_slice_is_scored_alone(panel, finish):
    SliceView(panel.viewer, panel.viewer.layers["bars"]).go_to(3, 0)
    panel.controls.scope.setCurrentText(SLICE)
    panel.compare()
    finish(panel)
    assert panel.views.comparison.slices == [(0, 3)]
    assert panel.views.comparison.is_flat
    SliceView(panel.viewer, panel.viewer.layers["bars"]).go_to(5, 0)
    panel.compare()
    finish(panel)
    assert f"no box on slice {SLIDER[5]}" in last_message()
    panel.controls.boxes.setCurrentText(AROUND)
    panel.compare()
    finish(panel)
    assert f"voxels on slice {SLIDER[5]}." in last_message()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("from_file", [True, False])
def test_labels_stored_the_other_way_round_score_the_same(
    panel, volume, finish, qtbot, axis, from_file
):
    """As a DICOM series and the labels of a NIfTI file: the overlay is perfect."""
    truth = panel.viewer.layers["truth"]
    turn = np.eye(4)
    turn[2 - axis, 2 - axis], turn[2 - axis, 3] = -1, volume.shape[axis] - 1
    other = replace(
        volume,
        array=np.ascontiguousarray(np.flip(truth.data, axis)),
        affine=volume.affine @ turn,
        segments=(Segment(3, "rib"),),
    )
    layer = Layer.create(*labels_layer_data(other.array, other, "flipped"))
    if not from_file:
        layer.metadata = {}
    panel.viewer.layers.remove(truth)
    panel.viewer.add_layer(layer)
    controls = panel.controls
    assert controls.labels.currentText() == "flipped"
    qtbot.mouseClick(controls.compare, Qt.MouseButton.LeftButton)
    finish(panel)
    assert text(panel, WHOLE.name, "DSC") == "100.00"
    assert text(panel, LOSSY.name, "DSC") == f"{DSC:.2f}"
    matched = "label 3, rib" if from_file else "label 3"
    assert controls.scores.itemText(1) == f"bar ({matched})"
    assert "resampled by nearest neighbour" in controls.status.text()
    controls.scores.setCurrentIndex(1)
    controls.scores.activated.emit(1)
    assert controls.table.item(0, 5).toolTip() == f"bar: scored by {matched}."
    qtbot.mouseClick(controls.copy_csv, Qt.MouseButton.LeftButton)
    assert matched in QApplication.clipboard().text()


def test_labels_that_lie_elsewhere_are_refused(panel, finish, qtbot):
    panel.viewer.layers["truth"].translate = (9000, 0, 0)
    qtbot.mouseClick(panel.controls.compare, Qt.MouseButton.LeftButton)
    finish(panel)
    assert "lie wholly outside" in last_message()
    assert panel.views.comparison is None


def test_boxes_around_labels_need_no_drawing(panel, finish):
    panel.viewer.layers.remove("boxes")
    panel.state.session_of(panel.viewer.layers["bars"]).objects.clear()
    panel.compare()
    finish(panel)
    assert "Draw a box" in last_message()
    panel.controls.boxes.setCurrentText(AROUND)
    panel.compare()
    finish(panel)
    assert text(panel, WHOLE.name, "DSC") == "100.00"
    assert panel.controls.scores.itemText(1) == "label 3"


def test_boxes_around_labels_on_a_slice_are_those_of_the_slice(panel, finish):
    reference = panel.viewer.layers["truth"].data
    reference[0, 2:60, 2:46] = 3  # a box of the whole label would be all of it
    reference[2, 50:55, 5:10] = 4
    SliceView(panel.viewer, panel.viewer.layers["bars"]).go_to(2, 0)
    panel.controls.boxes.setCurrentText(AROUND)
    panel.controls.scope.setCurrentText(SLICE)
    panel.compare()
    finish(panel)
    (compared,) = panel.views.comparison.objects
    assert compared.prompt.box == Box3D(5, 10, 2, 25, 20, 3)
    said = panel.controls.status.text()
    assert said.endswith("Left out, under 100 voxels on this slice: label 4.")


def test_difference_and_distance_become_layers(compared, finish):
    compared.views.show_differences()
    finish(compared)
    layers = compared.viewer.layers
    differs = layers["bars: variants differ"]
    assert np.count_nonzero(differs.data) == 50
    assert compared.controls.status.text() == "Variants differ on 50 voxels."
    assert differs.data_to_world((1, 2, 3)) == layers["bars"].data_to_world((1, 2, 3))
    compared.views.show_distance()
    assert last_message() == "Select a compared variant in the table first."
    compared.controls.table.selectRow(1)
    compared.views.show_distance()
    finish(compared)
    distance = layers[f"{LOSSY.name}: distance in mm"]
    assert isinstance(distance, Image)
    assert np.nanmax(distance.data) == 0
    before = len(layers)
    compared.views.show_differences()
    finish(compared)
    assert len(layers) == before


def test_masks_are_shown_as_layers_grid_and_flicker(window, compared):
    viewer = compared.viewer
    before = list(viewer.layers)
    compared.views.show(MaskView.LAYERS)
    results = compared.views.layers.results
    assert [x.name for x in results] == [f"bars: {v.name}" for v in (WHOLE, LOSSY)]
    assert all(isinstance(x, Labels) and x.visible for x in results)
    compared.views.show(MaskView.GRID)
    assert grid_of(viewer).enabled
    shown = [x.name for x in viewer.layers if x.visible]
    assert shown == [
        WHOLE.name,
        f"bars: {WHOLE.name}",
        LOSSY.name,
        f"bars: {LOSSY.name}",
        TRUTH,
        f"bars: {TRUTH}",
    ]
    # By the objects' ids, so that a colour is the same object in every cell.
    truth = viewer.layers[f"bars: {TRUTH}"].data
    np.testing.assert_array_equal(truth[1:5, 10:20, 5:25], 1)
    assert np.count_nonzero(truth) == 4 * 10 * 20
    assert list(viewer.layers)[:6] == [x for x in viewer.layers if x.visible]
    assert compared.controls.image.count() == 1
    compared.views.show(MaskView.FLICKER)
    assert not grid_of(viewer).enabled
    seen = set()
    for _ in range(2):
        (visible,) = (x for x in results if x.visible)
        assert text_of(viewer).text in visible.name
        seen.add(visible)
        compared.views.layers.next_variant()
    assert seen == set(results)
    compared.views.show(MaskView.HIDDEN)
    assert not any(x.visible for x in results)
    assert not text_of(viewer).visible
    assert [x for x in viewer.layers if x in before] == before
    assert all(x.visible for x in before)


def swiped(panel, horizontal=2):
    """Return the swipe's and both variants' masks as seen, columns last.

    Along x this volume runs against the display, along y with it.
    """
    results = panel.views.comparison.results
    sides = [results[name].labels for name in panel.views.layers.sides]
    arrays = [panel.views.layers.swipe.layer.data, *sides]
    step = -1 if horizontal == 2 else 1
    return [np.moveaxis(array, horizontal, -1)[..., ::step] for array in arrays]


def test_swipe_shows_one_variant_left_and_another_right(compared):
    compared.views.show(MaskView.SWIPE)
    layer = compared.views.layers.swipe.layer
    assert not compared.controls.sides.isHidden()
    assert text_of(compared.viewer).text == f"{WHOLE.name} | {LOSSY.name}"
    for share in (0.5, 0.0, 0.3, 1.0, 0.2):
        compared.controls.divider.setValue(round(share * DIVIDER_STEPS))
        shown, left, right = swiped(compared)
        (here,) = np.flatnonzero((shown == DIVIDER).all((0, 1)))
        assert abs(here + 0.5 - 48 * share) <= 1
        np.testing.assert_array_equal(shown[..., :here], left[..., :here])
        np.testing.assert_array_equal(shown[..., here + 1 :], right[..., here + 1 :])
    assert not any(x.visible for x in compared.views.layers.results)
    compared.views.show(MaskView.HIDDEN)
    assert layer not in compared.viewer.layers
    assert compared.controls.sides.isHidden()
    assert not text_of(compared.viewer).visible


@pytest.mark.parametrize(("axis", "horizontal"), [(0, 2), (1, 2), (2, 1)])
def test_divider_stands_upright_in_every_view(compared, axis, horizontal):
    compared.views.show(MaskView.SWIPE)
    compared.controls.divider.setValue(DIVIDER_STEPS // 4)
    SliceView(compared.viewer, compared.views.layers.image).go_to(3, axis)
    shown, left, right = swiped(compared, horizontal)
    (here,) = np.flatnonzero((shown == DIVIDER).all((0, 1)))
    assert abs(here + 0.5 - shown.shape[-1] / 4) <= 1
    np.testing.assert_array_equal(shown[..., :here], left[..., :here])
    np.testing.assert_array_equal(shown[..., here + 1 :], right[..., here + 1 :])


def test_sides_of_the_swipe_are_chosen(compared):
    compared.views.show(MaskView.SWIPE)
    controls = compared.controls
    controls.divider.setValue(DIVIDER_STEPS)
    controls.left.setCurrentText(LOSSY.name)
    controls.left.activated.emit(controls.left.currentIndex())
    assert compared.views.layers.sides == (LOSSY.name, LOSSY.name)
    shown, left, _ = swiped(compared)
    np.testing.assert_array_equal(shown[..., :47], left[..., :47])
    assert controls.divider.value() == DIVIDER_STEPS


def test_the_truth_is_a_side_of_the_swipe(compared):
    compared.views.show(MaskView.SWIPE)
    controls = compared.controls
    controls.right.setCurrentText(TRUTH)
    controls.right.activated.emit(controls.right.currentIndex())
    controls.divider.setValue(0)
    shown = compared.views.layers.swipe.layer.data[2, 10:20, 5:25]
    np.testing.assert_array_equal(shown, 1)


def test_a_variant_has_its_score_while_the_next_one_runs(panel, qtbot, finish):
    load, may_go = panel.load, threading.Event()

    def waits(choice, report):
        if choice.model == "lossy":
            report("Waiting…")
            may_go.wait(20)
        return load(choice, report)

    panel.load = waits
    panel.controls.compare.click()
    qtbot.waitUntil(lambda: text(panel, WHOLE.name, "DSC") == "100.00", timeout=20_000)
    assert panel.work.is_busy
    assert text(panel, LOSSY.name, "DSC") == ""
    may_go.set()
    finish(panel)
    assert text(panel, LOSSY.name, "DSC") != ""


def test_a_time_of_an_earlier_comparison_is_not_shown(compared, finish):
    assert text(compared, LOSSY.name, "ms") != ""
    table = compared.controls.table
    items = [table.item(row, 0) for row in range(table.rowCount())]
    (lossy,) = (item for item in items if item.text() == LOSSY.name)
    lossy.setCheckState(Qt.CheckState.Unchecked)
    compared.controls.compare.click()
    finish(compared)
    assert text(compared, WHOLE.name, "ms") != ""
    assert text(compared, LOSSY.name, "ms") == ""


def drag(layer, start, end):
    """Drag the mouse on slice 2 from one column to another; tell what was handled."""
    handled = []
    for kind, column, callbacks in (
        ("mouse_press", start, mouse_press_callbacks),
        ("mouse_move", end, mouse_move_callbacks),
        ("mouse_release", end, mouse_release_callbacks),
    ):
        event = read_only_mouse_event(
            type=kind,
            is_dragging=kind == "mouse_move",
            position=layer.data_to_world((2, 30, column)),
        )
        callbacks(layer, event)
        handled.append(getattr(event, "handled", False))
    return handled


def test_divider_is_dragged_with_the_mouse(compared):
    compared.views.show(MaskView.SWIPE)
    layer = compared.views.layers.swipe.layer
    assert compared.viewer.layers.selection.active is layer
    # What is handled does not move the image.
    assert drag(layer, 23.6, 10) == [True, True, False]
    assert (layer.data[..., 10] == DIVIDER).all()
    assert compared.controls.divider.value() == round(DIVIDER_STEPS * (1 - 10.5 / 48))
    assert drag(layer, 40, 30) == [False, False, False]
    assert (layer.data[..., 10] == DIVIDER).all()


def test_layers_may_be_deleted_while_they_are_shown(compared):
    for view in (MaskView.GRID, MaskView.FLICKER):
        compared.views.show(view)
        compared.viewer.layers.remove(compared.views.layers.results[0])
        compared.views.layers.next_variant()
        compared.views.show(MaskView.HIDDEN)
    compared.viewer.layers.remove("bars")
    assert compared.views.comparison is None
    compared.compare()
    assert last_message().startswith("There is no image to compare on.")


def test_table_is_copied_and_saved(compared, tmp_path):
    compared.controls.copy_csv.click()
    copied = QApplication.clipboard().text()
    rows = list(csv.DictReader(io.StringIO(copied)))
    assert [(r["variant"], r["DSC %"]) for r in rows] == [
        (WHOLE.name, "100.00"),
        (LOSSY.name, f"{DSC:.2f}"),
    ]
    compared.controls.copy_markdown.click()
    assert QApplication.clipboard().text().startswith("| variant | object |")
    compared.export.save(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").strip() == copied.strip()
    compared.export.save(tmp_path / "nowhere" / "t.csv")
    assert "Cannot write the table" in last_message()


def test_labels_of_the_segment_panel_are_offered_last(panel, volume):
    data, arguments, kind = labels_layer_data(
        np.zeros(volume.shape, int), volume, "own"
    )
    arguments["metadata"][RESULT] = True
    panel.viewer.layers.insert(0, Layer.create(data, arguments, kind))
    names = [panel.controls.labels.itemText(i) for i in range(2)]
    assert names == ["truth", "own"]
    assert panel.controls.labels.currentText() == "truth"


def test_labels_of_the_segment_panel_are_no_truth_by_themselves(panel, volume):
    labels = panel.controls.labels
    data, arguments, kind = labels_layer_data(
        np.zeros(volume.shape, int), volume, "own"
    )
    arguments["metadata"][RESULT] = True
    panel.viewer.add_layer(Layer.create(data, arguments, kind))
    panel.viewer.layers.remove("truth")
    assert labels.count() == 1
    assert labels.currentIndex() == -1
    labels.setCurrentText("own")
    panel.viewer.add_labels(np.ones(volume.shape, np.uint8), name="late")
    assert labels.currentText() == "own"


def test_all_that_lacks_is_named_at_once(panel):
    for name in ("truth", "boxes"):
        panel.viewer.layers.remove(name)
    panel.controls.table.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    panel.controls.table.item(1, 0).setCheckState(Qt.CheckState.Unchecked)
    panel.compare()
    said = last_message()
    assert "no labels to compare with" in said
    assert "Tick at least one variant" in said
    assert "Draw a box" in said
    assert panel.controls.status.text() == said
    panel.viewer.layers.clear()
    panel.compare()
    assert last_message().count("There is no image") == 1


def test_labels_of_another_number_of_axes_are_refused(panel, finish):
    panel.viewer.add_labels(np.ones((4, 4), np.uint8), name="other")
    panel.controls.labels.setCurrentText("other")
    panel.compare()
    finish(panel)
    assert panel.views.comparison is None
    assert panel.controls.labels.currentText() == "other"
    message = last_message()
    assert message.startswith("'other' has 2 axes, but 'bars' has 3.")


def test_cancel_keeps_whole_variants(panel, finish, backends, qtbot, hold):
    hold(backends["lossy"], panel.worker, after=2)
    panel.compare()
    qtbot.waitUntil(lambda: backends["lossy"].encoded >= 2, timeout=20_000)
    panel.controls.cancel.click()
    finish(panel)
    assert panel.controls.status.text() == "Cancelled."
    assert list(panel.views.comparison.results) == [WHOLE.name]
    assert text(panel, LOSSY.name, "DSC") == ""


def test_boxes_that_were_moved_or_removed_count(compared, finish):
    layer = compared.viewer.layers["boxes"]
    session = compared.state.session_of(compared.viewer.layers["bars"])
    layer.data = [np.asarray(layer.data[0]) + (0, 2, 0)]
    compared.compare()
    finish(compared)
    assert session.objects[1].box.y_min == 10
    layer.data = []
    compared.compare()
    finish(compared)
    assert "Draw a box" in last_message()


def test_removing_the_image_ends_the_comparison(panel, finish, backends, qtbot, hold):
    hold(backends["lossy"], panel.worker, after=2)
    panel.compare()
    qtbot.waitUntil(lambda: backends["lossy"].encoded >= 2, timeout=20_000)
    panel.viewer.layers.remove("bars")
    finish(panel)
    assert panel.controls.status.text() == "Cancelled."
    assert panel.views.comparison is None
    assert not panel.controls.view.isEnabled()


def test_scores_of_one_object_sort_too(compared):
    controls, table = compared.controls, compared.controls.table
    controls.scores.setCurrentIndex(1)
    controls.scores.activated.emit(1)
    table.sortItems(5, Qt.SortOrder.AscendingOrder)
    assert [table.item(r, 0).text() for r in range(2)] == [LOSSY.name, WHOLE.name]


def test_a_row_that_is_selected_leads_to_its_worst_slice_again(compared):
    viewer, image = compared.viewer, compared.views.layers.image
    table = compared.controls.table
    row = next(r for r in range(2) if table.item(r, 0).text() == LOSSY.name)
    table.selectRow(row)
    worst = SliceView(viewer, image).place
    SliceView(viewer, image).go_to(0, 0)
    table.cellClicked.emit(row, 0)
    assert SliceView(viewer, image).place == worst != (0, 0)


def test_empty_labels_are_named(panel, volume, finish):
    panel.viewer.add_labels(np.zeros(volume.shape, np.uint8), name="nothing")
    panel.controls.labels.setCurrentText("nothing")
    panel.controls.boxes.setCurrentText(AROUND)
    panel.compare()
    finish(panel)
    assert last_message() == "The labels are empty. Choose labels that hold objects."


def test_copies_in_the_grid_are_no_scans(compared):
    compared.views.show(MaskView.GRID)
    assert compared.views.layers.copies
    assert not any(is_scan(copy) for copy in compared.views.layers.copies)


def test_failed_loading_is_a_notification(panel, finish):
    from napari_qmedsam.errors import BadCheckpoint

    def fail(*_):
        raise BadCheckpoint("There is no weights file 'x'.")

    panel.load = fail
    panel.compare()
    finish(panel)
    assert last_message() == "There is no weights file 'x'."
    assert panel.controls.compare.isEnabled()


def test_closing_the_window_during_work_ends_it(
    window, panel, backends, qtbot, told_to_stop, hold
):
    hold(backends["whole"], panel.worker, after=2)
    panel.compare()
    qtbot.waitUntil(lambda: backends["whole"].encoded >= 2, timeout=20_000)
    with told_to_stop(panel.worker):
        window.close()
    assert backends["whole"].encoded == 3  # of a warm-up and four slices


def test_closing_the_dock_leaves_the_grid(window, compared):
    compared.views.show(MaskView.GRID)
    window.window.remove_dock_widget(compared)
    assert not grid_of(window).enabled


def test_plain_2d_image_is_compared(viewer, dock, backends, finish):
    image = np.zeros((64, 48), np.float32)
    image[10:20, 5:25] = 1
    viewer.add_image(image, name="flat", scale=(0.5, 2))
    viewer.add_labels((image * 7).astype(np.uint8), name="truth", scale=(0.5, 2))
    panel = dock(ComparePanel(viewer, lambda choice, *_: backends[choice.model]))
    panel.state.variants.add(WHOLE)
    panel.state.variants_changed.emit()
    panel.controls.boxes.setCurrentText(AROUND)
    panel.compare()
    finish(panel)
    assert text(panel, WHOLE.name, "DSC") == "100.00"
    panel.views.show(MaskView.LAYERS)
    assert panel.views.layers.results[0].ndim == 2
    panel.close_down()


def test_choices_are_remembered(panel, qtbot):
    panel.controls.boxes.setCurrentText(AROUND)
    panel.controls.scope.setCurrentText(SLICE)
    panel.controls.tolerance.setValue(3.5)
    panel.close_down()
    again = ComparePanel(panel.viewer)
    qtbot.addWidget(again)
    assert again.controls.boxes.currentText() == AROUND
    assert again.controls.scope.currentText() == SLICE
    assert again.controls.tolerance.value() == 3.5
    again.close_down()


def test_every_control_says_what_it_is(panel):
    controls = vars(panel.controls).values()
    for control in (w for w in controls if isinstance(w, QPushButton | QComboBox)):
        assert control.toolTip().endswith(".")
        assert ". " not in control.toolTip()
