"""Next and previous case: work is kept, comes back, and layers go with their image."""

import numpy as np
import pytest
from napari.layers import Layer

from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.label_provenance import read_provenance
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.segmentation.case_folder import KEPT
from napari_qmedsam.volumes import read_volume, write_volume

pytestmark = pytest.mark.gui


@pytest.fixture
def panel(viewer, dock, volume, backend, tmp_path):
    """The panel over the first of two scans in a folder."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("one", "two"):
        write_volume(volume, folder / f"{name}.nii.gz")
    first = read_volume(folder / "one.nii.gz")
    viewer.add_layer(Layer.create(*image_layer_data(first, "one")))
    panel = dock(SegmentPanel(viewer, load=lambda *_: backend))
    panel.controls.automatic.setChecked(False)
    yield panel
    panel.close_down()


def source(panel):
    return panel.workspace.session.volume.source.path.rsplit("/", 1)[-1]


def test_boxes_and_labels_are_kept_and_come_back(panel, finish, tmp_path):
    panel.workspace.view.go_to(2)
    shapes = panel.workspace.draw_boxes()
    shapes.add_rectangles(rectangle(2, Box2D(3, 8, 27, 22), 3))
    panel.segment_slice()
    finish(panel)
    session = panel.workspace.session
    objects, labels = dict(session.objects), session.labels.copy()
    assert labels.any()

    panel.cases.go(1)
    finish(panel)
    assert source(panel) == "two.nii.gz"
    assert panel.workspace.session.objects == {}
    assert panel.controls.status.text() == "two.nii.gz, case 2 of 2."
    # Layers of the first have gone; only those of the second may be there.
    volumes = {id(x.metadata.get("qmedsam_volume")) for x in panel.viewer.layers}
    assert len(volumes) == 1
    assert len(list((tmp_path / "scans" / KEPT).iterdir())) == 2

    panel.cases.go(-1)
    finish(panel)
    assert source(panel) == "one.nii.gz"
    assert panel.workspace.session.objects == objects
    np.testing.assert_array_equal(panel.workspace.session.labels, labels)
    assert not panel.workspace.is_unsaved


def test_saved_labels_have_what_made_them_beside_them(panel, finish, tmp_path):
    panel.workspace.view.go_to(2)
    panel.workspace.draw_boxes().add_rectangles(rectangle(2, Box2D(3, 8, 27, 22), 3))
    panel.segment_slice()
    finish(panel)
    panel.workspace.session.labels[4, 2, 3] = 1  # by hand
    path = tmp_path / "out.nii.gz"
    panel.save_labels(path)
    finish(panel)
    assert panel.controls.status.text() == f"Saved {path}."
    assert not panel.workspace.is_unsaved
    made = read_provenance(path)
    assert made.objects == tuple(panel.workspace.session.objects.values())
    assert len(made.corrections.positions) == 1


def test_labels_are_saved_where_what_made_them_cannot_be_kept(
    panel, finish, tmp_path, monkeypatch
):
    panel.workspace.view.go_to(2)
    panel.workspace.draw_boxes().add_rectangles(rectangle(2, Box2D(3, 8, 27, 22), 3))
    panel.segment_slice()
    finish(panel)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("napari_qmedsam.replay.write_text", full)
    path = tmp_path / "out.nii.gz"
    panel.save_labels(path)
    finish(panel)
    assert "What made it is not kept: No space left" in panel.controls.status.text()
    assert path.exists()
    assert not panel.workspace.is_unsaved


def test_beyond_the_last_nothing_happens(panel, finish):
    panel.cases.go(-1)
    assert not panel.work.is_busy
    assert "is the first image of 'scans'" in panel.controls.status.text()
    assert source(panel) == "one.nii.gz"


def test_the_menu_has_both(panel, finish):
    menu = panel.controls.more.menu()
    menu.aboutToShow.emit()
    actions = {action.text(): action for action in menu.actions()}
    actions["Next case"].trigger()
    finish(panel)
    assert source(panel) == "two.nii.gz"
