"""Loading, segmenting and saving, one after the other in the worker's thread."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from napari_qmedsam.segmentation.following import Direction
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
    axis : int
        That `slice_index` counts along.
    direction : Direction or None
        Carry the masks of the slice that way, in place of segmenting it.
    join : bool
        Make it one step of undo with the change of a box before it.
    """

    workspace: Workspace
    choice: ModelChoice
    object_ids: tuple[int, ...]
    slice_index: int | None
    propagation: Propagation
    protect: bool
    axis: int = 0
    direction: Direction | None = None
    join: bool = False


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
        session.prompts(request.object_ids, request.slice_index, request.axis)
        if self.has_loaded(request.choice):
            self._segment(request)
        else:
            self.load_model(request.choice, partial(self._segment, request))

    def load_model(
        self, choice: ModelChoice, on_success: Callable[[], None] | None = None
    ) -> None:
        """Load a model, with its download if it takes one."""

        def job(report: Report, should_stop: ShouldStop) -> None:
            backend = self.load(choice, report, should_stop)
            self._loaded = choice, SliceSegmenter(backend, self._store)
            if should_stop():
                raise Cancelled("Cancelled.")

        self._start(
            job,
            None,
            f"Loading {Path(choice.model).name}…",
            on_success or (lambda: self.said.emit("Loaded.")),
        )

    def has_loaded(self, choice: ModelChoice) -> bool:
        """Tell whether this is the model that is loaded."""
        return self._loaded is not None and self._loaded[0] == choice

    @property
    def segmenter(self) -> SliceSegmenter | None:
        """The model that is loaded."""
        return None if self._loaded is None else self._loaded[1]

    def save(
        self,
        workspace: Workspace,
        path: str | Path,
        on_success: Callable[[], None] = lambda: None,
    ) -> None:
        """Write a workspace's labels; `on_success` is called when they are there."""

        def job(report: Report, should_stop: ShouldStop) -> None:
            workspace.session.save_labels(path)

        def saved() -> None:
            on_success()
            self.said.emit(f"Saved {path}.")

        self._start(job, workspace, f"Saving {Path(path).name}…", saved)

    def cancel(self) -> None:
        """Stop after the step under way; what is done stays."""
        if self.is_busy:
            self.worker.cancel()
            self.said.emit("Stopping after this step…")

    def describe(self) -> str:
        """Say what really runs, how fast, and how large it is."""
        if self._loaded is None:
            return "No model is loaded yet."
        return description(self._loaded[1])

    # Helpers --------------------------------------------------------------

    def _segment(self, request: Request) -> None:
        workspace, session = request.workspace, request.workspace.session
        workspace.share_labels()
        workspace.show_labels()
        session.segmenter = self._loaded[1]
        session.window = workspace.window()
        # Boxes may have been deleted while the model loaded.
        ids = [i for i in request.object_ids if i in session.objects]
        if request.direction is not None:
            updates = session.segment_from(
                request.slice_index,
                request.direction,
                ids,
                request.axis,
                protect_existing=request.protect,
            )
        else:
            updates = session.segment(
                ids,
                request.slice_index,
                request.propagation,
                protect_existing=request.protect,
                axis=request.axis,
                join=request.join,
            )
        self._start(
            partial(segment_until, updates), workspace, "Segmenting…", self._segmented
        )

    def _segmented(self) -> None:
        self.said.emit("Done.")

    def _start(
        self,
        job: Job,
        workspace: Workspace | None,
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

    def _progressed(self, workspace: Workspace | None, item: Any) -> None:
        if isinstance(item, Downloading):
            self.said.emit(item.sentence())
            self.progressed.emit(*item.thousandths())
            return
        self.progressed.emit(item.done, item.total)
        workspace.labels_changed(item.slice_index, item.axis)

    def _ended(
        self,
        workspace: Workspace | None,
        on_success: Callable[[], None],
        error: BaseException | None,
    ) -> None:
        self.progressed.emit(0, 1)
        if workspace is not None:
            workspace.refresh()
            # Objects that were followed reach further now.
            workspace.box_layer.update()
            workspace.on_change()
        if isinstance(error, Cancelled):
            self.said.emit("Cancelled.")
        elif error is not None:
            self.said.emit("")
        try:
            with errors_shown():
                if error is None:
                    on_success()
                elif not isinstance(error, Cancelled):
                    raise error
        finally:
            # Last: others may only start something once what follows on success,
            # as segmenting does on loading, has had its turn.
            self.changed.emit()


def segment_until(
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
            update = next(updates, None)
            if update is None:
                return
            report(update)
        raise Cancelled("Cancelled.")
    finally:
        updates.close()


def description(segmenter: SliceSegmenter) -> str:
    """Say what runs: model, runtime, precision, device, speed and sizes."""
    info = segmenter.backend.info
    parts = [info.model, f"{info.backend} {info.precision} on {info.device}"]
    encoding, decoding = segmenter.milliseconds
    if encoding is not None:
        parts.append(f"{encoding + (decoding or 0):.0f} ms per slice")
    parts.append(f"{info.weights_bytes / 1e6:.1f} MB on disk")
    if info.memory_bytes:
        parts.append(f"{info.memory_bytes / 1e6:.1f} MB in memory")
    return " · ".join(parts)
