"""Nothing moves under the mouse, and a small window has a picture in it."""

import subprocess
import sys
from pathlib import Path

import pytest
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_qmedsam.gui.compare.compare_panel import ComparePanel
from napari_qmedsam.gui.quantize.quantize_panel import QuantizePanel
from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.forms import StatusLine

pytestmark = pytest.mark.gui

LONG = "A sentence about what happens now, that goes on and on. " * 6


def places(panel, widgets):
    """Return where each of a panel's controls lies in it."""
    return [(w.mapTo(panel, w.rect().topLeft()), w.size()) for w in widgets]


@pytest.mark.parametrize("make", [SegmentPanel, QuantizePanel, ComparePanel])
def test_no_sentence_moves_anything(viewer, qtbot, make):
    panel = make(viewer)
    qtbot.addWidget(panel)
    panel.resize(340, 560)
    panel.show()
    qtbot.waitExposed(panel)
    panel.say("Short.")
    qtbot.wait(50)
    shown = [w for w in panel.findChildren(QWidget) if w.isVisible()]
    before = places(panel, shown)
    lines = panel.findChildren(StatusLine)
    assert panel.controls.status in lines
    for line in lines:
        line.setText(LONG)
    qtbot.wait(50)
    assert places(panel, shown) == before
    assert panel.controls.status.text() == LONG
    assert LONG in panel.controls.status.toolTip()
    assert panel.controls.status.shown().endswith("…")
    panel.close_down()


def test_an_offer_moves_no_button(panel, qtbot):
    panel.resize(340, 560)
    panel.show()
    qtbot.waitExposed(panel)
    qtbot.wait(50)
    controls = panel.controls
    made = [controls.draw, controls.undo, controls.save, controls.up, controls.models]

    def where():
        return [b.mapTo(panel, b.rect().topLeft()) for b in made]

    before = where()
    panel.recovery.text.setText(LONG)
    panel.recovery.show()
    qtbot.wait(50)
    assert where() == before


def test_a_small_window_keeps_its_picture_and_what_saves():
    """In a process of its own: Qt sizes docks otherwise after many windows."""
    path = Path(__file__).with_name("small_window.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*command, str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout


def test_a_large_window_keeps_napari_s_docks_where_they_are(window, panel, qtbot):
    main = window.window._qt_window
    main.resize(1440, 900)
    main.show()
    qtbot.wait(100)
    dock = next(d for d in main.findChildren(QDockWidget) if d.isAncestorOf(panel))
    assert main.tabifiedDockWidgets(dock) == []
