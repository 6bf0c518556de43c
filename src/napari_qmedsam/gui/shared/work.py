"""A panel's work, one job at a time, and what is said of it meanwhile."""

from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_qmedsam.errors import Cancelled
from napari_qmedsam.gui.shared.loading import Downloading
from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.gui.shared.worker import Job, Worker


class Work(QObject):
    """Runs jobs, tells how far they are, and shows their errors."""

    said = Signal(str)
    """One line about what happens."""

    progressed = Signal(int, int)
    """Steps done and in all; (0, 0) while nobody knows, (0, 1) at rest."""

    changed = Signal()
    """Work began or ended."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.worker = Worker(self)

    @property
    def is_busy(self) -> bool:
        """Whether something is being done."""
        return self.worker.is_busy

    def start(
        self,
        job: Job,
        text: str,
        on_success: Callable[[], None],
        on_progress: Callable[[Any], None] = lambda _: None,
        on_end: Callable[[BaseException | None], None] = lambda _: None,
    ) -> None:
        """Run a job; every callback is called in the interface's thread.

        Parameters
        ----------
        job : callable
        text : str
            Said at the start.
        on_success : callable
            Called if the job ended by itself.
        on_progress : callable
            Gets what the job reports, downloads apart.
        on_end : callable
            Called first of all at the end, with the error if there is one.
        """
        self.said.emit(text)
        self.progressed.emit(0, 0)
        self.worker.start(
            job,
            partial(self._progressed, on_progress),
            partial(self._ended, on_end, on_success),
        )
        self.changed.emit()

    def cancel(self, text: str) -> None:
        """Tell the job to stop after its step, and say so."""
        if self.is_busy:
            self.worker.cancel()
            self.said.emit(text)

    def _progressed(self, on_progress: Callable[[Any], None], item: Any) -> None:
        if isinstance(item, Downloading):
            self.said.emit(item.sentence())
            self.progressed.emit(*item.thousandths())
        elif isinstance(item, str):
            self.said.emit(item)
        else:
            on_progress(item)

    def _ended(
        self,
        on_end: Callable[[BaseException | None], None],
        on_success: Callable[[], None],
        error: BaseException | None,
    ) -> None:
        self.progressed.emit(0, 1)
        try:
            with errors_shown(self.said.emit):
                on_end(error)
                if error is None:
                    on_success()
                elif isinstance(error, Cancelled):
                    self.said.emit(str(error) or "Cancelled.")
                else:
                    raise error
        finally:
            # Last: others may only start something once what follows on success,
            # as segmenting does on loading, has had its turn.
            self.changed.emit()
