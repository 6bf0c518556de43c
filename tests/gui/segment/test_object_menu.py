"""Report, scores, names and objects of other labels, through the panel's menu."""

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtWidgets import QApplication, QMenu

from napari_qmedsam.evaluation.rules import TOLERANCE_MM
from napari_qmedsam.gui.segment.object_table import DOUBT_ROLE, ML
from napari_qmedsam.gui.shared.layers import labels_layer_data
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.volumes import Volume, read_labels
from napari_qmedsam.volumes.segments import Segment

pytestmark = pytest.mark.gui

FIRST = Box2D(3, 8, 27, 22)
WIDE = Box2D(0, 0, 46, 60)


@pytest.fixture
def reference(panel, volume):
    """A layer whose rows are stored the other way round, as files of others are."""
    truth = np.zeros(volume.shape, np.uint8)
    truth[2, 10:20, 5:25] = 7
    truth[1:4, 30:40, 20:40] = 9
    affine = volume.affine @ np.diag([1, -1, 1, 1])
    affine[:3, 3] += volume.affine[:3, 1] * (volume.shape[1] - 1)
    names = (Segment(7, "liver", colour=(255, 0, 0)), Segment(9, "spleen"))
    stored = Volume(truth[:, ::-1], volume.spacing_mm, affine, segments=names)
    layer = Layer.create(*labels_layer_data(stored.array, stored, "theirs"))
    panel.viewer.add_layer(layer)
    return layer


def test_report_is_a_table_that_is_copied_and_saved(
    panel, segment_box, choose_in_menu, tmp_path
):
    segment_box(2, FIRST)
    choose_in_menu("Report…")
    dialog = panel.menu.dialog
    assert dialog.table.horizontalHeaderItem(4).text() == "ml"
    assert dialog.table.item(0, 3).text() == "200"
    assert dialog.table.item(0, 8).text() == "3"  # of the slider, index 2 of six
    dialog.copying.click()
    copied = QApplication.clipboard().text()
    assert copied.splitlines()[1].startswith("1,object 1,1,200,0.240,120.0,0.0,")
    dialog.export.save(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == copied
    dialog.show_cells(dialog.cells, "However long a note is. " * 100)
    QApplication.processEvents()
    assert not dialog.table.geometry().intersects(dialog.status.geometry())
    dialog.close()


def test_masks_are_scored_where_they_lie(panel, segment_box, choose_in_menu, reference):
    segment_box(2, FIRST)
    choose_in_menu("Score against", "theirs")
    dialog = panel.menu.dialog
    row = [dialog.table.item(0, column).text() for column in range(3)]
    assert row == ["object 1 (1)", "liver (7)", "100.00"]
    assert "nothing lies there: spleen" in dialog.status.toPlainText()
    dialog.close()


def test_scores_are_taken_anew_with_another_tolerance_or_match(
    panel, segment_box, choose_in_menu, reference, finish
):
    segment_box(2, FIRST)
    choose_in_menu("Score against", "theirs")
    dialog = panel.menu.dialog
    assert dialog.tolerance.value() == TOLERANCE_MM
    heading = dialog.table.horizontalHeaderItem
    assert heading(3).text() == f"NSD % at {TOLERANCE_MM:g} mm"
    dialog.tolerance.setValue(1.5)
    finish(panel)
    assert heading(3).text() == "NSD % at 1.5 mm"
    dialog.matching.setCurrentText("number")
    dialog.matching.activated.emit(dialog.matching.currentIndex())
    finish(panel)
    # 1 is nothing of theirs, nor are 7 and 9 drawn.
    found = [dialog.table.item(row, 2).text() for row in range(3)]
    assert found == ["0.00", "0.00", "0.00"]
    assert heading(3).text() == "NSD % at 1.5 mm"
    dialog.matching.setCurrentText("name")
    dialog.matching.activated.emit(dialog.matching.currentIndex())
    finish(panel)
    assert dialog.table.item(0, 1).text() == "–"
    dialog.close()


def test_labels_of_others_become_locked_objects(
    panel, choose_in_menu, reference, volume
):
    choose_in_menu("Objects from", "theirs")
    objects = panel.workspace.session.objects
    assert [o.name for o in objects.values()] == ["liver", "spleen"]
    assert objects[9].is_locked
    labels = panel.workspace.labels_layer.layer
    assert (labels.data[2, 10:20, 5:25] == 7).all()
    assert (labels.data[1:4, 30:40, 20:40] == 9).all()
    np.testing.assert_allclose(panel.workspace.colour_of(7), [1, 0, 0, 1])
    table = panel.controls.table
    assert table.item(0, 1).text() == "liver"
    panel.undo()
    assert not objects
    assert not labels.data.any()


def test_names_and_colours_go_into_the_file(
    panel, choose_in_menu, reference, finish, tmp_path
):
    choose_in_menu("Objects from", "theirs")
    panel.save_labels(tmp_path / "out.nii.gz")
    finish(panel)
    liver, spleen = read_labels(tmp_path / "out.nii.gz").segments
    assert (liver.name, liver.colour) == ("liver", (255, 0, 0))
    assert spleen.name == "spleen"


def test_names_come_from_class_lists(panel, segment_box, choose_in_menu, tmp_path):
    segment_box(2, FIRST)
    choose_in_menu("Names from", "TotalSegmentator, CT")
    assert panel.workspace.session.objects[1].name == "spleen"
    (tmp_path / "mine.csv").write_text("id,name,colour\n1,tumour,#0000ff\n")
    panel.menu.name_by(str(tmp_path / "mine.csv"))
    assert panel.controls.table.item(0, 1).text() == "tumour"
    np.testing.assert_allclose(panel.workspace.colour_of(1), [0, 0, 1, 1])
    (tmp_path / "other.csv").write_text("id,name\n99,tumour\n")
    panel.menu.name_by(str(tmp_path / "other.csv"))
    assert "No object has a number of that list" in panel.controls.status.text()


def test_masks_not_to_be_trusted_are_marked_with_the_reason(panel, segment_box):
    segment_box(2, FIRST)
    cell = panel.controls.table.item(0, ML)
    assert not cell.data(DOUBT_ROLE)
    # One bar in a box that is far wider; index 3 of six is 2 on the slider.
    segment_box(3, Box2D(0, 0, 46, 24))
    doubted = panel.controls.table.item(1, ML)
    assert "does not reach the sides of its box (slice 2)" in doubted.toolTip()
    assert not doubted.icon().isNull()
    assert panel.controls.table.item(0, ML).icon().isNull()
    segment_box(4, Box2D(40, 50, 46, 60))
    assert "it is empty" in panel.controls.table.item(2, ML).toolTip()
    status = panel.controls.status.text()
    assert status == "object 3: nothing was found, the mask is empty."


def test_doubts_come_back_with_undo_and_a_stroke_settles_its_slice(panel, segment_box):
    def doubted():
        table = panel.controls.table
        return [bool(table.item(row, ML).data(DOUBT_ROLE)) for row in range(2)]

    segment_box(2, Box2D(0, 0, 46, 24))
    segment_box(3, Box2D(0, 0, 46, 24))
    assert doubted() == [True, True]
    labels = panel.workspace.labels_layer.layer
    with labels.block_history():
        labels.paint((3, 40, 10), 2)
    assert doubted() == [True, False]
    panel.undo()
    assert doubted() == [True, True]
    panel.redo()
    assert doubted() == [True, False]
    panel.undo()
    panel.undo()
    assert panel.workspace.doubts.now.keys() == {1}
    panel.redo()
    assert doubted() == [True, True]


def test_own_colours_are_shown_before_there_are_labels(panel):
    with panel.workspace.edit() as session:
        session.add_object(Box3D(3, 8, 1, 27, 22, 4), "vein", colour=(0, 0, 255))
    assert panel.workspace.labels_layer.layer is None
    np.testing.assert_allclose(panel.workspace.colour_of(1), [0, 0, 1, 1])


def test_no_entry_without_other_labels(panel, segment_box):
    segment_box(2, FIRST)
    panel.menu.fill()
    score = next(m for m in panel.menu.findChildren(QMenu) if m.title()[:5] == "Score")
    assert not score.isEnabled()
