"""Counting the voxels of objects while nothing else is done."""

from qtpy.QtCore import QObject, QTimer, Signal

from napari_qmedsam.gui.segment.workspaces import Workspaces

COUNT_SECONDS = 0.01
"""Longest that counting may hold the interface up at a time."""

PAUSE_MS = 20
"""Between two times."""


class VoxelCounter(QObject):
    """Counts the voxels of workspaces that have changed, a little at a time."""

    counted = Signal(object)
    """A workspace whose voxels have been counted anew."""

    def __init__(self, workspaces: Workspaces) -> None:
        super().__init__(workspaces)
        self._workspaces = workspaces
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._count)

    def start(self) -> None:
        """Count soon: something may have changed."""
        if not self._timer.isActive():
            self._timer.start()

    def stop(self) -> None:
        """Count no more."""
        self._timer.stop()

    def _count(self) -> None:
        for workspace in self._workspaces.all():
            if not workspace.tally.is_current:
                workspace.tally.count(workspace.session.labels, COUNT_SECONDS)
                self.counted.emit(workspace)
                self._timer.start()
                return
