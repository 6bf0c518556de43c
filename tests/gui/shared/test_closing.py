"""Panels are let go with the window they are in, and only with it."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_qmedsam.gui.shared import closing
from napari_qmedsam.gui.shared.closing import ClosingWatch, wait_for

pytestmark = pytest.mark.gui


class Window(QMainWindow):
    """Refuses to close while the user does not want it, as napari's does."""

    is_refused = False

    def closeEvent(self, event):
        event.setAccepted(not self.is_refused)


class Endless:
    """A thread that never ends, on a clock that only waiting moves."""

    now = 0.0

    def join(self, seconds):
        Endless.now += seconds

    def is_alive(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(Endless, "now", 0.0)
    monkeypatch.setattr(closing.time, "monotonic", lambda: Endless.now)
    return Endless


@pytest.fixture
def window(qtbot):
    window = Window()
    qtbot.addWidget(window)
    return window


@pytest.fixture
def add_panel(window):
    """Dock a panel that notes, in one list for all, when it was let go."""
    told = []

    def add():
        panel, dock = QWidget(), QDockWidget(window)
        watch = ClosingWatch(panel, lambda: told.append(watch) or [Endless()])
        dock.setWidget(panel)
        window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
        return dock

    return add, told


def test_panels_of_a_window_share_one_wait(window, add_panel, clock):
    add, told = add_panel
    for _ in range(3):
        add()
    window.show()
    window.close()
    assert len(told) == 3
    assert clock.now == pytest.approx(closing.CLOSE_SECONDS)
    assert closing.CLOSE_SECONDS < 1


def test_a_second_close_waits_no_more(window, add_panel, clock):
    add, told = add_panel
    dock = add()
    window.show()
    window.removeDockWidget(dock)
    dock.widget().setParent(None)
    before = clock.now
    window.close()
    assert len(told) == 1
    assert clock.now == before


def test_panel_lives_on_when_the_user_keeps_the_window(window, add_panel, clock):
    add, told = add_panel
    add()
    window.show()
    window.is_refused = True
    window.close()
    assert window.isVisible()
    assert not told
    window.is_refused = False
    window.close()
    assert not window.isVisible()
    assert len(told) == 1


def test_hiding_a_floating_dock_keeps_its_panel(window, add_panel, clock):
    add, told = add_panel
    dock = add()
    window.show()
    dock.setFloating(True)
    dock.close()
    assert not told
    dock.show()
    window.close()
    assert len(told) == 1


def test_window_that_was_never_shown_lets_its_panels_go(window, add_panel, clock):
    add, told = add_panel
    add().widget()
    for watch in window.findChildren(ClosingWatch):
        watch.watch_window()  # work began
    window.close()
    assert len(told) == 1


def test_waiting_tells_whether_all_is_over(clock):
    assert wait_for([], 1.0)
    assert not wait_for([Endless()], 1.0)
