"""Long work in a thread of its own, with progress and a way to stop it."""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal, Slot

from napari_qmedsam.cancelling import cancellable

Report = Callable[[Any], None]
"""Called by a job with whatever its progress is."""

Job = Callable[[Report], None]
"""Work to be done outside the interface's thread; `check_cancelled` ends it."""

NICENESS = 10
"""How far the work stands back for the interface; 19 is the most."""


class Worker(QObject):
    """Runs one job at a time and tells the interface's thread about it.

    The thread is no daemon: a step that outlasts :meth:`close` ends in peace,
    with the window gone, before the interpreter does.
    """

    _reported = Signal(object)
    _ended = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._on_progress: Callable[[Any], None] = _ignore
        self._on_end: Callable[[BaseException | None], None] = _ignore
        self._reported.connect(self._pass_progress)
        self._ended.connect(self._pass_end)

    @property
    def is_busy(self) -> bool:
        """Whether a job runs, or its end has not been told yet."""
        return self._thread is not None

    def start(
        self,
        job: Job,
        on_progress: Callable[[Any], None],
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        """Run a job; both callbacks are called in the interface's thread.

        Parameters
        ----------
        job : callable
        on_progress : callable
            Gets what the job reports.
        on_end : callable
            Called once: with None, or with the error that ended the job.
        """
        assert self._thread is None, "a job is running"
        self._on_progress, self._on_end = on_progress, on_end
        # One event per job: a job left behind by close() stays told to stop.
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(job, self._stop), name="qmedsam-worker"
        )
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for the job's end, with the interface at a stand meanwhile.

        What the job tells is still told by the event loop, after this.
        """
        if self._thread is not None:
            self._thread.join(seconds)

    def cancel(self) -> None:
        """Ask the job to stop after the step it is in."""
        self._stop.set()

    def close(self) -> list[threading.Thread]:
        """Tell the job to stop and forget its callbacks.

        Returns
        -------
        list of Thread
            That of the job, if one was running; it ends after its step.
        """
        self._on_progress = self._on_end = _ignore
        self._stop.set()
        thread, self._thread = self._thread, None
        return [] if thread is None else [thread]

    def _run(self, job: Job, stop: threading.Event) -> None:
        _step_back()
        error: BaseException | None = None
        try:
            with cancellable(stop.is_set):
                job(lambda item: self._tell("_reported", (stop, item)))
        except Exception as reason:  # noqa: BLE001  handed to the interface's thread
            error = reason
        self._tell("_ended", (stop, error))

    def _tell(self, signal: str, message: tuple[threading.Event, Any]) -> None:
        stop, _ = message
        try:
            getattr(self, signal).emit(message)
        except RuntimeError:  # the panel is gone, and with it Qt's half of this
            stop.set()

    @Slot(object)
    def _pass_progress(self, message: tuple[threading.Event, Any]) -> None:
        stop, item = message
        if stop is self._stop and self._thread is not None:
            self._on_progress(item)

    @Slot(object)
    def _pass_end(self, message: tuple[threading.Event, Any]) -> None:
        stop, error = message
        if stop is not self._stop or self._thread is None:
            return
        self._thread.join()
        self._thread = None
        self._on_end(error)


def _step_back() -> None:
    """Let the interface go first on processors that both want.

    On Linux a thread has a priority of its own, and the threads that torch
    and OpenVINO start from it inherit it.
    """
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    # Only ever downwards: upwards takes rights that users do not have.
    if os.getpriority(os.PRIO_PROCESS, thread) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, thread, NICENESS)


def _ignore(_: Any) -> None:
    """Do nothing."""
