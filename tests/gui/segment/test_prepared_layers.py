"""The layers of the first box are there before anybody clicks."""

import pytest
from napari.utils.notifications import notification_manager

pytestmark = pytest.mark.gui


def test_layers_exist_before_the_first_click(viewer, panel, qtbot):
    workspace = panel.workspace
    viewer.layers.selection.active = workspace.image
    qtbot.waitUntil(lambda: workspace.box_layer.layer is not None, timeout=10_000)
    assert workspace.labels_layer.layer is not None
    assert viewer.layers.selection.active is workspace.image
    assert not workspace.is_unsaved
    before = list(viewer.layers)
    panel.controls.draw.click()
    assert list(viewer.layers) == before
    assert workspace.box_layer.layer.mode == "add_rectangle"
    panel.controls.save.click()
    assert "no labels to save" in notification_manager.records[-1].message


def test_a_layer_that_was_deleted_is_not_made_again(viewer, panel, qtbot):
    workspace = panel.workspace
    qtbot.waitUntil(lambda: workspace.box_layer.layer is not None, timeout=10_000)
    viewer.layers.remove(workspace.labels_layer.layer)
    qtbot.wait(700)
    assert workspace.labels_layer.layer is None
