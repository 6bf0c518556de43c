"""The slice in view, segmented again when its window has changed."""

from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer

from napari_qmedsam.gui.segment.runner import Request, Runner
from napari_qmedsam.gui.segment.workspaces import Workspaces
from napari_qmedsam.gui.shared.notices import Say, errors_shown

SETTLED_MS = 400
"""How long a window has to stay before a slice is segmented again in it."""


class SegmentAgain(QObject):
    """Waits until a window stays as it is, and segments the slice in view in it.

    Parameters
    ----------
    workspaces : Workspaces
    is_wanted : callable
    runner : Runner
    say : callable
    """

    def __init__(
        self,
        workspaces: Workspaces,
        is_wanted: Callable[[], bool],
        runner: Runner,
        say: Say,
    ) -> None:
        super().__init__(workspaces)
        self._workspaces, self._runner, self._say = workspaces, runner, say
        self._is_wanted = is_wanted
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLED_MS)
        self._timer.timeout.connect(self._segment)

    def window_changed(self) -> None:
        """Begin to wait, if the slice is to be segmented again at all."""
        if self._is_wanted():
            self._timer.start()

    def close(self) -> None:
        """Wait no longer."""
        self._timer.stop()

    def _segment(self) -> None:
        workspace = self._workspaces.current
        if workspace is None:
            return
        axis, here = workspace.view.place
        ids = [
            i
            for i, o in workspace.session.objects.items()
            if o.axis == axis and not o.is_locked and o.prompt.reaches(here)
        ]
        if ids:
            with errors_shown(self._say):
                self._runner.segment(Request(workspace, tuple(ids), here, axis))
