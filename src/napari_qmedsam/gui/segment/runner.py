"""What is to be segmented, one thing after the other in a thread."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.errors import Cancelled, NothingThere
from napari_qmedsam.gui.segment.model_loader import ModelLoader
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.loading import LoadModel, ModelChoice
from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.gui.shared.session_layer import Edit
from napari_qmedsam.gui.shared.work import Work
from napari_qmedsam.gui.shared.worker import Report
from napari_qmedsam.segmentation.embedding_archive import DEFAULT_GB
from napari_qmedsam.segmentation.endings import RunEnd
from napari_qmedsam.segmentation.propagation import Direction, Follow, SliceUpdate
from napari_qmedsam.volumes.reslicing import seen_along

BRIEFLY = 0.025
"""Seconds that the interface waits for a slice that is encoded: nobody sees that."""


@dataclass(frozen=True)
class SegmentOptions:
    """What the panel's controls say of all that is segmented.

    Parameters
    ----------
    model : ModelChoice
    follow : Follow
    protect : bool
        Keep the labels of other objects.
    is_automatic : bool
        Segment slices as soon as their boxes or points change.
    needs_download : bool
        The model is not here yet; nobody has asked for a download by drawing.
    """

    model: ModelChoice
    follow: Follow = Follow.BOX
    protect: bool = False
    is_automatic: bool = True
    needs_download: bool = False


@dataclass(frozen=True)
class Request:
    """What the user asked for with one press of a button, or by drawing.

    Parameters
    ----------
    workspace : Workspace
    object_ids : tuple of int
    slice_index : int or None
        Only this slice; None for each object's whole range.
    axis : int
        That `slice_index` counts along.
    direction : Direction or None
        Propagate the masks of the slice that way, in place of segmenting it.
    join : bool
        Make it one step of undo with the change of a box before it.
    """

    workspace: Workspace
    object_ids: tuple[int, ...]
    slice_index: int | None = None
    axis: int = 0
    direction: Direction | None = None
    join: bool = False


class Runner:
    """Segments what was drawn or asked for as soon as nothing else is done.

    A slice whose boxes change again while it waits is segmented once. Of requests,
    the last one waits: they come by keys, while the buttons are off.

    Parameters
    ----------
    load : callable
    work : Work
    options : callable
        Returns what the controls say, when work begins.
    embeddings_gb : float
        As for :class:`~napari_qmedsam.gui.segment.model_loader.ModelLoader`.
    """

    def __init__(
        self,
        load: LoadModel,
        work: Work,
        options: Callable[[], SegmentOptions],
        embeddings_gb: float = DEFAULT_GB,
    ) -> None:
        self.work, self.models = work, ModelLoader(load, work, embeddings_gb)
        self._options = options
        self._edited: dict[tuple[Workspace, int, int], set[int]] = {}
        self._later: Request | None = None
        self._loaded_for: Request | None = None
        """What the model that is being loaded is for, unless that was cancelled."""
        work.changed.connect(self.go_on)

    @property
    def is_waiting(self) -> bool:
        """Whether something is to be segmented that has not begun."""
        return bool(self._edited) or self._later is not None

    def segment_edited(self, workspace: Workspace, edits: Sequence[Edit]) -> None:
        """Segment the slices of boxes and points that changed, if that is wanted."""
        options = self._options()
        if not options.is_automatic:
            return
        if options.needs_download:
            self.work.said.emit(
                "Press Load to download the model; then slices are segmented as their "
                "boxes change."
            )
            return
        for edit in edits:
            place = workspace, edit.axis, edit.slice_index
            self._edited.setdefault(place, set()).add(edit.object_id)
        self.go_on()

    def segment(self, request: Request) -> None:
        """Segment, now or when the work under way is done.

        Raises
        ------
        InvalidSettings
            If there is nothing to segment.
        """
        if self.work.is_busy:
            self._later = request
        else:
            self._start(request)

    def cancel(self) -> None:
        """Stop now, and forget what waits; what is done stays."""
        self._edited.clear()
        self._later = self._loaded_for = None
        self.work.cancel("Stopping…")

    def go_on(self) -> None:
        """Start what waits, changed boxes first, unless something is being done."""
        while self.is_waiting and not self.work.is_busy:
            request = self._next()
            if request is not None:
                with errors_shown(self.work.said.emit):
                    self._start(request)

    # Helpers --------------------------------------------------------------

    def _next(self) -> Request | None:
        """Take what waits first; None if it makes no sense any more."""
        if not self._edited:
            request, self._later = self._later, None
            return request
        (workspace, axis, slice_index), edited = self._edited.popitem()
        objects = workspace.session.objects
        ids = [
            i
            for i in sorted(edited)
            if i in objects
            and not objects[i].is_locked
            and objects[i].prompt.reaches(slice_index)
        ]
        if not ids:
            return None
        return Request(workspace, tuple(ids), slice_index, axis, join=True)

    def _start(self, request: Request) -> None:
        """Load the model unless it is the one loaded, then segment."""
        # Better said now than after a model has loaded.
        session, options = request.workspace.session, self._options()
        try:
            session.prompts(request.object_ids, request.slice_index, request.axis)
        except NothingThere as error:
            raise error.numbered(request.workspace.view.number) from None
        if self.models.has_loaded(options.model):
            self._segment(request, options)
        else:
            self._loaded_for = request
            self.models.start(options.model, partial(self._loaded, options))

    def _loaded(self, options: SegmentOptions) -> None:
        # Cancel may have come when the model was there and nobody knew it yet.
        request, self._loaded_for = self._loaded_for, None
        if request is None:
            self.work.said.emit("Cancelled.")
        else:
            self._segment(request, options)

    def _segment(self, request: Request, options: SegmentOptions) -> None:
        workspace = request.workspace
        visits: list[SliceUpdate] = []

        def say_why() -> None:
            self.work.said.emit(_why_ended(request, visits))

        def progressed(update: SliceUpdate) -> None:
            visits.append(replace(update, masks=()))
            if update.done:  # until then nobody can tell how long it takes
                self.work.progressed.emit(update.done, update.total)
            workspace.labels_changed(update.slice_index, update.axis)

        def ended(error: BaseException | None) -> None:
            workspace.redraw()
            # Objects whose masks were propagated reach further now.
            workspace.box_layer.update()
            workspace.changed.emit()
            if isinstance(error, Cancelled) and request.direction is not None:
                _go_on_from_last(request, visits)

        workspace.labels_layer.share()
        workspace.show_labels()
        updates = self._updates(request, options)

        def job(report: Report) -> None:
            done: list[SliceUpdate] = []
            try:
                # Closed, the slices become one step of undo.
                with closing(updates):
                    for update in updates:
                        report(update)
                        done.append(replace(update, masks=()))
                        check_cancelled()
            except Cancelled:
                raise Cancelled(_why_ended(request, done, is_cancelled=True)) from None
            finally:
                visited = {update.slice_index for update in done}
                workspace.doubts.check(request.object_ids, visited)

        is_brief = self._is_brief(request)
        self.work.start(job, "Segmenting…", say_why, progressed, ended)
        if is_brief:
            # It is done before its box alone could be painted, which would take longer
            # than decoding and slow it.
            self.work.worker.wait(BRIEFLY)

    def _is_brief(self, request: Request) -> bool:
        """Tell whether there is one slice to decode, and nothing to encode."""
        segmenter, workspace = self.models.segmenter, request.workspace
        if segmenter is None or request.slice_index is None:
            return False
        if request.direction is not None:
            return False
        volume = seen_along(workspace.session.volume, request.axis)
        return segmenter.is_encoded(volume, request.slice_index, workspace.window())

    def _updates(
        self, request: Request, options: SegmentOptions
    ) -> Generator[SliceUpdate, None, None]:
        session = request.workspace.session
        session.segmenter = self.models.segmenter
        session.window = request.workspace.window()
        # Boxes may have been deleted while the model loaded.
        ids = [i for i in request.object_ids if i in session.objects]
        if request.direction is not None and request.slice_index is not None:
            return session.iter_propagate(
                request.slice_index,
                request.direction,
                ids,
                request.axis,
                protect_existing=options.protect,
            )
        return session.iter_segment(
            ids,
            request.slice_index,
            options.follow,
            protect_existing=options.protect,
            axis=request.axis,
            join=request.join,
        )


def _why_ended(
    request: Request, seen: Sequence[SliceUpdate], is_cancelled: bool = False
) -> str:
    """Return why a run ended, in one sentence; slices as the slider counts them."""
    workspace = request.workspace
    names = {i: o.name for i, o in workspace.session.objects.items()}
    end = RunEnd.of(seen, is_cancelled)

    def number(slice_index: int) -> int:
        return workspace.view.number(slice_index, seen[0].axis)

    shown = replace(
        end,
        slices=tuple(number(z) for z in end.slices),
        ends=tuple(replace(e, slice_index=number(e.slice_index)) for e in end.ends),
    )
    gone = [i for i in request.object_ids if i not in names]
    if gone and not is_cancelled:
        return f"{len(gone)} of the objects went while they were segmented."
    return shown.text(names)


def _go_on_from_last(request: Request, seen: Sequence[SliceUpdate]) -> None:
    """Look at the last slice done, unless the user looks at another by now.

    From there the next press goes on; it would do the same slices again.
    """
    view = request.workspace.view
    if seen and view.place == (request.axis, request.slice_index):
        view.go_to(seen[-1].slice_index, seen[-1].axis)
