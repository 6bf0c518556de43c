"""Telling a panel that it closes: by itself, with its dock or napari's window."""

import threading
import time
from collections.abc import Callable, Iterable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QDockWidget, QWidget

CLOSE_SECONDS = 0.8
"""How long closing waits for the steps under way, of all panels together."""

LetGo = Callable[[], Iterable[threading.Thread]]
"""Stops the work, lets go of viewer and layers; returns threads not over yet."""


class ClosingWatch(QObject):
    """Lets a panel go, once, when it or the window it is docked in closes.

    napari tells nobody that its window closes (its issue 8023), and takes a
    panel out of its dock without closing it. Every panel of a window is told
    before any of them is waited for.

    Parameters
    ----------
    panel : QWidget
    let_go : callable
    """

    def __init__(self, panel: QWidget, let_go: LetGo) -> None:
        super().__init__(panel)
        self._panel, self._let_go = panel, let_go
        self._is_over = self._is_asked = False
        panel.installEventFilter(self)

    def watch_window(self) -> None:
        """Watch the window that the panel is in now; called when work begins."""
        window = self._panel.window()
        # A dock that floats is hidden by its closing, and may be shown again.
        while isinstance(window, QDockWidget) and window.parentWidget() is not None:
            window = window.parentWidget().window()
        if window is not self._panel:
            # A filter that is installed twice counts once.
            window.installEventFilter(self)

    def close(self) -> None:
        """Let the panel go; a second time nothing happens."""
        _close_all([self])

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look at every event, hold up none."""
        kind, panel = event.type(), self._panel
        if watched is panel:
            if kind == QEvent.Type.Show:
                self.watch_window()
            elif kind == QEvent.Type.Close or (
                kind == QEvent.Type.ParentChange and panel.parent() is None
            ):
                self.close()
        elif kind == QEvent.Type.Close:
            # napari may ask the user first; only a window that closes is hidden.
            self._is_asked = isinstance(watched, QWidget) and watched.isVisible()
            if not self._is_asked:
                self._close_window(watched)
        elif kind == QEvent.Type.Hide and self._is_asked and not event.spontaneous():
            self._close_window(watched)
        return False

    def _close_window(self, window: QObject) -> None:
        _close_all([self, *window.findChildren(ClosingWatch)])


def wait_for(threads: Iterable[threading.Thread], seconds: float) -> bool:
    """Wait until threads are over, `seconds` in all; tell whether they are."""
    threads = list(threads)
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def _close_all(watches: Iterable[ClosingWatch]) -> None:
    running: list[threading.Thread] = []
    for watch in watches:
        if not watch._is_over:
            watch._is_over = True
            running += watch._let_go()
    wait_for(running, CLOSE_SECONDS)
