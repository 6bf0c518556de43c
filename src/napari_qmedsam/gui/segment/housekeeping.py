"""What goes on beside the work: counting voxels, keeping unsaved work safe."""

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from threading import Thread
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.worker import Job, Report, ShouldStop, Worker
from napari_qmedsam.segmentation.autosave import Recovery

log = logging.getLogger(__name__)

COUNT_SECONDS = 0.01
"""Longest that counting may hold the interface up at a time."""

AUTOSAVE_MS = 3000
"""How long after a change it is kept on disk, if nobody is painting then."""


RETRY_MS = 100
"""How long what found the housekeeper busy waits."""


class Housekeeper(QObject):
    """Counts and autosaves the workspaces of a panel, when nothing else is done.

    Parameters
    ----------
    workspaces : callable
        Returns those there are.
    is_busy : callable
        Tells whether somebody paints; nothing is written then.
    parent : QObject
    """

    counted = Signal(object)
    """A workspace whose voxels have been counted anew."""

    found = Signal(object, object)
    """A workspace, and the :class:`Recovery` that there is for it."""

    def __init__(
        self,
        workspaces: Callable[[], Iterable[Workspace]],
        is_busy: Callable[[], bool],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.is_autosaving = True
        self._is_over = False
        self._workspaces, self._is_busy = workspaces, is_busy
        self._kept: dict[Workspace, int] = {}
        self._worker = Worker(self)
        self._counting = self._timer(20, self._count)
        self._saving = self._timer(AUTOSAVE_MS, self.autosave)

    @property
    def is_busy(self) -> bool:
        """Whether something is being written or read."""
        return self._worker.is_busy

    def stir(self) -> None:
        """Something may have changed."""
        if not self._counting.isActive():
            self._counting.start()
        if not self._saving.isActive():
            self._saving.start()

    def look_for_recovery(self, workspace: Workspace) -> None:
        """Tell by `found` what an earlier session left for this volume."""

        def job(report: Report, should_stop: ShouldStop) -> None:
            report(workspace.autosave.left_behind())

        def tell(recovery: Recovery | None) -> None:
            if recovery is not None:
                self.found.emit(workspace, recovery)

        self._start_when_free(job, tell)

    def autosave(self) -> None:
        """Write one workspace that has changed; come back for the next."""
        if not self.is_autosaving:
            return
        for workspace in self._workspaces():
            if not workspace.is_unsaved or self._is_kept(workspace):
                continue
            if self._is_busy() or self._worker.is_busy:
                self._saving.start()
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

    def let_go(self, workspaces: list[Workspace]) -> list[Thread]:
        """Keep unsaved work for the next start, and stop.

        A large volume is written in a thread that outlasts the window.
        """
        self._is_over = True
        self._counting.stop()
        self._saving.stop()
        earlier = self._worker.close()
        unsaved = [w for w in workspaces if w.is_unsaved and self.is_autosaving]
        for workspace in workspaces:
            if workspace not in unsaved:
                workspace.autosave.discard()
        if unsaved:

            def job(report: Report, should_stop: ShouldStop) -> None:
                for thread in earlier:
                    thread.join()  # it may be writing the same file
                for workspace in unsaved:
                    _write(workspace, True, report, should_stop)

            self._worker.start(job, lambda _: None, lambda error: None)
        return earlier + self._worker.close()

    def _start_when_free(self, job: Job, tell: Callable[[Any], None]) -> None:
        """Do a job once nothing is being written or read, unless all is over then."""
        if self._worker.is_busy:
            QTimer.singleShot(RETRY_MS, partial(self._start_when_free, job, tell))
        elif not self._is_over:
            self._worker.start(job, tell, lambda error: None)

    def _count(self) -> None:
        for workspace in self._workspaces():
            if not workspace.tally.is_current:
                workspace.tally.count(workspace.session.labels, COUNT_SECONDS)
                self.counted.emit(workspace)
                self._counting.start()
                return

    def _is_kept(self, workspace: Workspace) -> bool:
        return self._kept.get(workspace) == workspace.revision

    def _written(self, error: BaseException | None) -> None:
        if error is not None:
            log.warning("Cannot keep unsaved work: %s", error)
        self._saving.start()

    def _timer(self, milliseconds: int, action: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.timeout.connect(action)
        return timer


class RecoveryBar(QFrame):
    """Offers what an earlier session left behind; hidden while there is nothing."""

    accepted = Signal(object)
    """The :class:`Recovery` that is to be taken over."""

    answered = Signal()
    """It was taken over or discarded."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._recovery: Recovery | None = None
        self.text = QLabel(self)
        self.text.setWordWrap(True)
        self.text.setToolTip(
            "Boxes and labels that were kept when they were not saved."
        )
        self.take = QPushButton("Restore", self)
        self.take.setToolTip("Put these boxes and labels in place of what is here.")
        self.drop = QPushButton("Discard", self)
        self.drop.setToolTip("Delete them.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.take)
        layout.addWidget(self.drop)
        self.take.clicked.connect(self._take)
        self.drop.clicked.connect(self._drop)
        self.hide()

    def offer(self, recovery: Recovery | None) -> None:
        """Offer this; None offers nothing."""
        self._recovery = recovery
        if recovery is not None:
            when = time.strftime("%d %b %H:%M", time.localtime(recovery.saved))
            count = len(recovery.objects)
            objects = "1 object" if count == 1 else f"{count} objects"
            self.text.setText(f"Unsaved work of {when}: {objects}.")
        self.setVisible(recovery is not None)

    def _take(self) -> None:
        recovery = self._recovery
        self.offer(None)
        self.answered.emit()
        if recovery is not None:
            self.accepted.emit(recovery)
            recovery.discard()

    def _drop(self) -> None:
        if self._recovery is not None:
            self._recovery.discard()
        self.offer(None)
        self.answered.emit()


def _write(
    workspace: Workspace, is_closed: bool, report: Report, should_stop: ShouldStop
) -> None:
    session = workspace.session
    workspace.autosave.write(dict(session.objects), session.labels, is_closed)
