"""Panels of the package side by side in one window."""

import pytest

pytest.importorskip("napari")

from qtpy.QtWidgets import QDockWidget

from napari_qmedsam.gui.quantize.quantize_panel import QuantizePanel
from napari_qmedsam.gui.segment.segment_panel import SegmentPanel

pytestmark = pytest.mark.gui


def docked(window, height, qtbot):
    """Two panels, docked one after the other, and the tabs of the first's dock."""
    main = window.window._qt_window
    main.resize(1280, height)
    panels = SegmentPanel(window), QuantizePanel(window)
    docks = [window.window.add_dock_widget(p, area="right") for p in panels]
    main.show()
    qtbot.waitUntil(lambda: all(p.isVisibleTo(main) for p in panels))
    qtbot.wait(100)
    tabs = main.tabifiedDockWidgets(docks[0])
    for panel in panels:
        panel.close_down()
    return docks, tabs


def test_they_become_tabs_in_a_low_window(window, qtbot):
    docks, tabs = docked(window, 800, qtbot)
    assert tabs == [docks[1]]
    assert isinstance(docks[1], QDockWidget)
    assert not docks[1].visibleRegion().isEmpty()


def test_they_stay_below_one_another_in_a_high_one(window, qtbot):
    _, tabs = docked(window, 2200, qtbot)
    assert tabs == []
