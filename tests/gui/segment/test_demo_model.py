"""The panel with the model that comes with the package."""

import numpy as np
import pytest

from napari_qmedsam.checkpoints.catalogue import DEMO
from napari_qmedsam.checkpoints.download import is_fetched
from napari_qmedsam.evaluation import dice
from napari_qmedsam.gui.launch import open_viewer
from napari_qmedsam.gui.samples import organ_boxes, phantom
from napari_qmedsam.volumes.volume import Modality

pytestmark = pytest.mark.gui


@pytest.mark.skipif(not is_fetched(DEMO), reason="the demo weights are not there yet")
def test_kidney_of_the_sample_is_found(make_napari_viewer, finish, monkeypatch):
    monkeypatch.setattr("napari.Viewer", make_napari_viewer)
    viewer, panel = open_viewer()
    try:
        case = phantom(Modality.CT)
        (drawn,) = organ_boxes(case, ("left kidney",))
        from napari_qmedsam.gui.shared.rectangles import rectangle

        panel.workspace.view.go_to(drawn.slice_index)
        corners = rectangle(drawn.slice_index, drawn.box.in_plane, 3)
        panel.workspace.draw_boxes().add_rectangles(corners)
        panel.segment_slice()
        finish(panel, timeout=120_000)
        found = panel.workspace.labels_layer.layer.data[drawn.slice_index] == 1
        wanted = case.labels.array[drawn.slice_index] == drawn.object_id
        assert dice(found, wanted) > 0.6
        assert np.count_nonzero(panel.workspace.labels_layer.layer.data) == found.sum()
        assert panel.controls.runs.text().startswith("demo · openvino fp32 on CPU")
    finally:
        panel.close_down()
        viewer.close()
