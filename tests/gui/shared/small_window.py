"""Run by test_fixed_places in a process of its own."""

from qtpy.QtWidgets import QDockWidget

from napari_qmedsam.gui.compare.compare_panel import ComparePanel
from napari_qmedsam.gui.quantize.quantize_panel import QuantizePanel


def test_a_small_window_keeps_its_picture_and_what_saves(window, panel, qtbot):
    main = window.window._qt_window
    main.resize(1024, 700)
    main.show()
    panel.show()
    qtbot.waitExposed(main)
    canvas = main.centralWidget()
    qtbot.waitUntil(lambda: 3 * canvas.width() >= 2 * 1024)
    # napari's own docks are tabs beside the panel, which is in front.
    own = [d for d in main.findChildren(QDockWidget) if d.objectName() == "layer list"]
    dock = next(d for d in main.findChildren(QDockWidget) if d.isAncestorOf(panel))
    assert set(own) <= set(main.tabifiedDockWidgets(dock))
    for control in (panel.controls.save, panel.controls.undo, panel.controls.status):
        assert control.visibleRegion().boundingRect().size() == control.size()
    others = ComparePanel(window), QuantizePanel(window)
    for other in (panel, *others):
        if other is not panel:
            window.window.add_dock_widget(other)
        qtbot.wait(100)
        assert 3 * canvas.width() >= 2 * 1024, other
        # Nothing is cut off at the right.
        area = other.controls.parentWidget()
        assert other.controls.minimumSizeHint().width() <= area.width(), other
    for other in others:
        other.close_down()
