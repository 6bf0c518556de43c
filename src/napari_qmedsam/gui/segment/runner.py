"""Loading, segmenting and saving, one after the other in the worker's thread."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qtpy.QtCore import QObject

from napari_qmedsam.errors import Cancelled
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.loading import LoadModel, ModelChoice
from napari_qmedsam.gui.shared.work import Work
from napari_qmedsam.gui.shared.worker import Report, ShouldStop
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.propagation import (
    Direction,
    Propagation,
    SliceUpdate,
)
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
        Propagate the masks of the slice that way, in place of segmenting it.
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


class Runner:
    """Does the work that requests stand for, one at a time.

    The model that was loaded last is kept; embeddings are kept for every
    model, so that going back to one costs no encoding.

    Parameters
    ----------
    load : callable
    parent : QObject
    """

    def __init__(self, load: LoadModel, parent: QObject) -> None:
        self.load, self.work = load, Work(parent)
        self.worker = self.work.worker
        self._store = EmbeddingStore()
        self._loaded: tuple[ModelChoice, SliceSegmenter] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being done."""
        return self.work.is_busy

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

        self.work.start(
            job,
            f"Loading {Path(choice.model).name}…",
            on_success or (lambda: self.work.said.emit("Loaded.")),
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
            self.work.said.emit(f"Saved {path}.")

        self.work.start(job, f"Saving {Path(path).name}…", saved)

    def cancel(self) -> None:
        """Stop now; what is done stays."""
        self.work.cancel("Stopping…")

    def describe(self) -> str:
        """Say what really runs, how fast, and how large it is."""
        if self._loaded is None:
            return "No model is loaded yet."
        return description(self._loaded[1])

    # Helpers --------------------------------------------------------------

    def _segment(self, request: Request) -> None:
        workspace, session = request.workspace, request.workspace.session
        workspace.labels_layer.share()
        workspace.show_labels()
        session.segmenter = self._loaded[1]
        session.window = workspace.window()
        # Boxes may have been deleted while the model loaded.
        ids = [i for i in request.object_ids if i in session.objects]
        if request.direction is not None:
            updates = session.iter_propagate(
                request.slice_index,
                request.direction,
                ids,
                request.axis,
                protect_existing=request.protect,
            )
        else:
            updates = session.iter_segment(
                ids,
                request.slice_index,
                request.propagation,
                protect_existing=request.protect,
                axis=request.axis,
                join=request.join,
            )

        def progressed(update: SliceUpdate) -> None:
            self.work.progressed.emit(update.done, update.total)
            workspace.labels_changed(update.slice_index, update.axis)

        def ended(error: BaseException | None) -> None:
            workspace.refresh()
            # Objects that were propagated reach further now.
            workspace.box_layer.update()
            workspace.on_change()

        self.work.start(
            partial(segment_until, updates),
            "Segmenting…",
            lambda: self.work.said.emit("Done."),
            progressed,
            ended,
        )


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
    parts = [info.model, f"{info.backend} {info.precision} on {info.device.upper()}"]
    encoding, decoding = segmenter.milliseconds
    if encoding is not None:
        parts.append(f"{encoding + (decoding or 0):.0f} ms per slice")
    parts.append(f"{info.weights_bytes / 1e6:.1f} MB on disk")
    if info.memory_bytes:
        parts.append(f"{info.memory_bytes / 1e6:.1f} MB in memory")
    return " · ".join(parts)
