"""Docking a panel as a tab: in a window that is low, or too narrow for two docks."""

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QScrollArea, QWidget

LEAST_CANVAS = 600
"""Pixels of width that are to be left for the picture."""

NAPARIS_OWN = "layer controls", "layer list"
"""Names of the docks that napari puts at the other side of the picture."""


class TabsWhereLow(QObject):
    """Makes a panel a tab when it is docked and there is no room for all.

    Panels that are stacked would be cut down to a few lines each; and between
    a panel and napari's own docks a narrow window has hardly a picture left, so
    those become tabs beside the panel there. It is done once, so whoever drags a
    dock away from the tabs has it where it was dropped.

    Parameters
    ----------
    panel : QWidget
    controls : QWidget
        What is to be seen of it whole.
    """

    def __init__(self, panel: QWidget, controls: QWidget) -> None:
        super().__init__(panel)
        self._panel, self._controls = panel, controls
        panel.installEventFilter(self)

    @property
    def height(self) -> int:
        """Pixels that show all of the panel."""
        return self._controls.sizeHint().height()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look at every event, hold up none."""
        if event.type() == QEvent.Type.Show:
            self._panel.removeEventFilter(self)
            # Only then is the dock where it belongs.
            QTimer.singleShot(0, self._join)
        return False

    def _join(self) -> None:
        window = self._panel.window()
        dock = _dock_of(self._panel)
        if dock is None or not isinstance(window, QMainWindow):
            return
        beside = [
            tabs
            for tabs in window.findChildren(TabsWhereLow)
            if tabs is not self and tabs._lies_beside(dock, window)
        ]
        needed = sum(tabs.height for tabs in [self, *beside])
        if beside and needed > window.height():
            window.tabifyDockWidget(_dock_of(beside[-1]._panel), dock)
            dock.raise_()
        # Styled by now, controls need other widths than the layout was told at first.
        for area in self._panel.findChildren(QScrollArea):
            area.updateGeometry()
        least = self._panel.minimumSizeHint().width()
        picture = window.centralWidget().width()
        if picture >= LEAST_CANVAS or dock.isFloating():
            return
        if picture + dock.width() - least < LEAST_CANVAS:
            self._join_naparis_own(dock, window)
        window.resizeDocks([dock], [least], Qt.Orientation.Horizontal)

    def _join_naparis_own(self, dock: QDockWidget, window: QMainWindow) -> None:
        """Make napari's docks at the other side tabs beside the panel's."""
        staying = window.dockWidgetArea(dock), Qt.DockWidgetArea.BottomDockWidgetArea
        others = [
            other
            for other in window.findChildren(QDockWidget)
            if other.objectName() in NAPARIS_OWN
            and other.isVisible()
            and not other.isFloating()
            and window.dockWidgetArea(other) not in staying
        ]
        for other in others:
            window.tabifyDockWidget(dock, other)
        dock.raise_()

    def _lies_beside(self, dock: QDockWidget, window: QMainWindow) -> bool:
        """Tell whether the panel is docked where another dock is."""
        own = _dock_of(self._panel)
        return (
            own is not None
            and own.window() is window
            and window.dockWidgetArea(own) == window.dockWidgetArea(dock)
        )


def _dock_of(widget: QWidget) -> QDockWidget | None:
    """Return the dock a widget lies in."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent
