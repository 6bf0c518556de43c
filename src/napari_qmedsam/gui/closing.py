"""Telling a panel that it closes: by its own window, its dock or napari's window."""

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget


class ClosingWatch(QObject):
    """Calls back, once, when a panel or the window it is docked in closes.

    napari tells nobody that its window closes (its issue 8023), and takes a
    panel out of its dock without closing it.

    Parameters
    ----------
    panel : QWidget
    callback : callable
    """

    def __init__(self, panel: QWidget, callback: Callable[[], None]) -> None:
        super().__init__(panel)
        self._panel, self._callback = panel, callback
        self._is_over = False
        panel.installEventFilter(self)

    def look(self) -> None:
        """Watch the window that the panel is in now; called when work begins."""
        window = self._panel.window()
        if window is not self._panel:
            # A filter that is installed twice counts once.
            window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look at every event, hold up none."""
        kind, panel = event.type(), self._panel
        if kind == QEvent.Type.Close:
            self._call_if(True)
        elif watched is panel and kind == QEvent.Type.Show:
            self.look()
        elif kind == QEvent.Type.ParentChange and watched is panel:
            self._call_if(panel.parent() is None)
        return False

    def _call_if(self, is_closing: bool) -> None:
        if is_closing and not self._is_over:
            self._is_over = True
            self._callback()
