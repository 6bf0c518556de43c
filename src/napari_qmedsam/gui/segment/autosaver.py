"""Keeping unsaved work safe on disk, and finding what an earlier session left."""

import logging
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, QTimer, Signal

from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.segment.workspaces import Workspaces
from napari_qmedsam.gui.shared.worker import Job, Report, Worker
from napari_qmedsam.segmentation.autosave import Recovery

log = logging.getLogger(__name__)

AUTOSAVE_MS = 3000
"""How long after a change it is kept on disk, if nobody is painting then."""

RETRY_MS = 100
"""How long what found the autosaver busy waits."""


class Autosaver(QObject):
    """Writes the workspaces of a panel that have changed, when nothing else is done.

    Parameters
    ----------
    workspaces : Workspaces
    is_busy : callable
        Tells whether somebody paints; nothing is written then.
    is_autosaving : bool
        Whether anything is written; what was left earlier is found anyway.
    """

    found = Signal()
    """A workspace has got a `recovery`."""

    def __init__(
        self,
        workspaces: Workspaces,
        is_busy: Callable[[], bool],
        is_autosaving: bool = True,
    ) -> None:
        super().__init__(workspaces)
        self.is_autosaving = is_autosaving
        self._is_over = False
        self._workspaces, self._is_busy = workspaces, is_busy
        self._kept: WeakKeyDictionary[Workspace, int] = WeakKeyDictionary()
        self._worker = Worker(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(AUTOSAVE_MS)
        self._timer.timeout.connect(self.autosave)
        workspaces.made.connect(self.look_for_recovery)
        workspaces.lost.connect(self.keep)

    @property
    def is_busy(self) -> bool:
        """Whether something is being written or read."""
        return self._worker.is_busy

    def start(self) -> None:
        """Write what has changed a while from now."""
        if not self._timer.isActive():
            self._timer.start()

    def look_for_recovery(self, workspace: Workspace) -> None:
        """Give a workspace what an earlier session left for its volume."""

        def job(report: Report) -> None:
            report(workspace.autosave.left_behind())

        def tell(recovery: Recovery | None) -> None:
            if recovery is not None:
                workspace.recovery = recovery
                self.found.emit()

        self._start_when_free(job, tell)

    def autosave(self) -> None:
        """Write one workspace that has changed; come back for the next."""
        if not self.is_autosaving:
            return
        for workspace in self._workspaces.all():
            if not workspace.is_unsaved or self._is_kept(workspace):
                continue
            if self._is_busy() or self._worker.is_busy:
                self._timer.start()
                return
            self._kept[workspace] = workspace.revision
            job = partial(_write, workspace, False)
            self._worker.start(job, lambda _: None, self._written)
            return

    def keep(self, workspace: Workspace) -> None:
        """Write a workspace that goes, to be offered when its volume is back."""
        if self.is_autosaving and workspace.is_unsaved:
            self._start_when_free(partial(_write, workspace, True), lambda _: None)

    def saved(self, workspace: Workspace) -> None:
        """Forget the autosave of a workspace whose labels were saved."""
        workspace.autosave.discard()
        self._kept.pop(workspace, None)

    def close(self) -> list[Thread]:
        """Keep unsaved work for the next start, and stop.

        A large volume is written in a thread that outlasts the window.
        """
        self._is_over = True
        self._timer.stop()
        earlier, workspaces = self._worker.close(), self._workspaces.all()
        unsaved = [w for w in workspaces if w.is_unsaved and self.is_autosaving]
        for workspace in workspaces:
            if not workspace.is_unsaved:
                workspace.autosave.discard()
        if unsaved:

            def job(report: Report) -> None:
                for thread in earlier:
                    thread.join()  # it may be writing the same file
                for workspace in unsaved:
                    _write(workspace, True, report)

            self._worker.start(job, lambda _: None, lambda error: None)
        return earlier + self._worker.close()

    def _start_when_free(self, job: Job, tell: Callable[[Any], None]) -> None:
        """Do a job once nothing is being written or read, unless all is over then."""
        if self._worker.is_busy:
            QTimer.singleShot(RETRY_MS, partial(self._start_when_free, job, tell))
        elif not self._is_over:
            self._worker.start(job, tell, lambda error: None)

    def _is_kept(self, workspace: Workspace) -> bool:
        return self._kept.get(workspace) == workspace.revision

    def _written(self, error: BaseException | None) -> None:
        if error is not None:
            log.warning("Cannot keep unsaved work: %s", error)
        self._timer.start()


def _write(workspace: Workspace, is_closed: bool, report: Report) -> None:
    session = workspace.session
    workspace.autosave.write(dict(session.objects), session.labels, is_closed)
