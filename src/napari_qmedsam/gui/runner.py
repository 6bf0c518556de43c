"""Loading, segmenting and saving, one after the other in the worker's thread."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_qmedsam.errors import Cancelled
from napari_qmedsam.gui.loading import Downloading, LoadModel, ModelChoice
from napari_qmedsam.gui.notices import errors_shown
from napari_qmedsam.gui.workers import Job, Report, ShouldStop, Worker
from napari_qmedsam.gui.workspace import Workspace
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.propagation import Propagation, SliceUpdate
from napari_qmedsam.segmentation.segmenter import SliceSegmenter


@dataclass(frozen=True)
class Request:
    """What the user asked for with one press of a button.

    Parameters
    ----------
    workspace : Workspace
    choice : ModelChoice
    object_ids : tuple of int
    slice_index : int or None
        Only this slice; None for each object's whole range.
    propagation : Propagation
    protect : bool
        Keep the labels of other objects.
    """

    workspace: Workspace
    choice: ModelChoice
    object_ids: tuple[int, ...]
    slice_index: int | None
    propagation: Propagation
    protect: bool


@dataclass(frozen=True)
class Timed:
    """A finished slice and the seconds it took."""

    update: SliceUpdate
    seconds: float


class Runner(QObject):
    """Does the work that requests stand for, one at a time.

    The model that was loaded last is kept; embeddings are kept for every
    model, so that going back to one costs no encoding.

    Parameters
    ----------
    load : callable
    parent : QObject
    """

    said = Signal(str)
    """One line about what happens."""

    progressed = Signal(int, int)
    """Steps done and in all; (0, 0) while nobody knows, (0, 1) at rest."""

    changed = Signal()
    """Work began or ended."""

    def __init__(self, load: LoadModel, parent: QObject) -> None:
        super().__init__(parent)
        self.load = load
        self.worker = Worker(self)
        self._store = EmbeddingStore()
        self._loaded: tuple[ModelChoice, SliceSegmenter] | None = None
        self._seconds: list[float] = []

    @property
    def is_busy(self) -> bool:
        """Whether something is being done."""
        return self.worker.is_busy

    def segment(self, request: Request) -> None:
        """Load the model unless it is the one loaded, then segment.

        Raises
        ------
        InvalidSettings
            If there is nothing to segment.
        """
        # Better said now than after a model has loaded.
        session = request.workspace.session
        session.prompts(request.object_ids, request.slice_index)
        if self._loaded is not None and self._loaded[0] == request.choice:
            self._segment(request)
            return

        def job(report: Report, should_stop: ShouldStop) -> None:
            backend = self.load(request.choice, report, should_stop)
            self._loaded = request.choice, SliceSegmenter(backend, self._store)
            if should_stop():
                raise Cancelled("Cancelled.")

        name = Path(request.choice.model).name
        self._start(
            job, request.workspace, f"Loading {name}…", partial(self._segment, request)
        )

    def save(self, workspace: Workspace, path: str | Path) -> None:
        """Write a workspace's labels."""

        def job(report: Report, should_stop: ShouldStop) -> None:
            workspace.session.save_labels(path)

        self._start(
            job,
            workspace,
            f"Saving {Path(path).name}…",
            lambda: self.said.emit(f"Saved {path}."),
        )

    def cancel(self) -> None:
        """Stop after the step under way; what is done stays."""
        if self.is_busy:
            self.worker.cancel()
            self.said.emit("Stopping after this step…")

    def describe(self) -> str:
        """Say what really runs, and how fast the last run was."""
        if self._loaded is None:
            return "No model is loaded yet."
        info = self._loaded[1].backend.info
        parts = [info.model, f"{info.backend} {info.precision} on {info.device}"]
        if self._seconds:
            mean = 1000 * sum(self._seconds) / len(self._seconds)
            parts.append(f"{mean:.0f} ms per slice")
        return " · ".join(parts)

    # Helpers --------------------------------------------------------------

    def _segment(self, request: Request) -> None:
        workspace, session = request.workspace, request.workspace.session
        workspace.share_labels()
        workspace.show_labels()
        session.segmenter = self._loaded[1]
        session.window = workspace.window()
        # Boxes may have been deleted while the model loaded.
        ids = tuple(i for i in request.object_ids if i in session.objects)
        request = replace(request, object_ids=ids)
        updates = session.segment(
            request.object_ids,
            request.slice_index,
            request.propagation,
            protect_existing=request.protect,
        )
        self._seconds = []
        self._start(
            partial(segment_timed, updates),
            workspace,
            "Segmenting…",
            lambda: self.said.emit(self.describe()),
        )

    def _start(
        self,
        job: Job,
        workspace: Workspace,
        text: str,
        on_success: Callable[[], None],
    ) -> None:
        """Run a job; `on_success` is called if it ended by itself."""
        self.said.emit(text)
        self.progressed.emit(0, 0)
        self.worker.start(
            job,
            partial(self._progressed, workspace),
            partial(self._ended, workspace, on_success),
        )
        self.changed.emit()

    def _progressed(self, workspace: Workspace, item: Any) -> None:
        if isinstance(item, Downloading):
            self.said.emit(item.sentence())
            self.progressed.emit(*item.thousandths())
            return
        self._seconds.append(item.seconds)
        self.progressed.emit(item.update.done, item.update.total)
        workspace.refresh(item.update.slice_index)

    def _ended(
        self,
        workspace: Workspace,
        on_success: Callable[[], None],
        error: BaseException | None,
    ) -> None:
        self.progressed.emit(0, 1)
        workspace.refresh()
        if isinstance(error, Cancelled):
            self.said.emit("Cancelled.")
        elif error is not None:
            self.said.emit(self.describe())
        self.changed.emit()
        with errors_shown():
            if error is None:
                on_success()
            elif not isinstance(error, Cancelled):
                raise error


def segment_timed(
    updates: Iterator[SliceUpdate], report: Report, should_stop: ShouldStop
) -> None:
    """Segment slice by slice until done or told to stop; report each.

    Parameters
    ----------
    updates : generator of SliceUpdate
        Closed at the end, which makes the slices one step of undo.
    report, should_stop : callable

    Raises
    ------
    Cancelled
        If it was told to stop.
    """
    try:
        while not should_stop():
            start = time.perf_counter()
            update = next(updates, None)
            if update is None:
                return
            report(Timed(update, time.perf_counter() - start))
        raise Cancelled("Cancelled.")
    finally:
        updates.close()
