"""What is to be segmented as soon as the work under way is done."""

from collections.abc import Callable, Iterable

from napari_qmedsam.gui.segment.box_layer import Edit
from napari_qmedsam.gui.segment.runner import Request, Runner
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.notices import errors_shown


class Waiting:
    """Slices whose boxes changed, and the request made last by a key.

    A slice that changes again while it waits is segmented once.

    Parameters
    ----------
    runner : Runner
    request : callable
        Makes a request with what the panel's controls say.
    """

    def __init__(self, runner: Runner, request: Callable[..., Request]) -> None:
        self._runner, self._request = runner, request
        self._slices: dict[tuple[Workspace, int, int], set[int]] = {}
        self._later: Request | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._slices and self._later is None

    def add(self, workspace: Workspace, edits: Iterable[Edit]) -> None:
        """Let slices of changed boxes wait, or segment them if nothing is done."""
        for edit in edits:
            place = workspace, edit.axis, edit.slice_index
            self._slices.setdefault(place, set()).add(edit.object_id)
        self.go_on()

    def postpone(self, request: Request) -> None:
        """Let a request wait, in place of one that waits already."""
        self._later = request

    def clear(self) -> None:
        """Forget all that waits."""
        self._slices.clear()
        self._later = None

    def go_on(self) -> None:
        """Start what waits, boxes first, unless something is being done."""
        while self._slices and not self._runner.is_busy:
            (workspace, axis, slice_index), ids = self._slices.popitem()
            objects = workspace.session.objects
            ids = {i for i in ids if i in objects and not objects[i].is_locked}
            ids = {i for i in ids if objects[i].prompt.reaches(slice_index)}
            if ids:
                with errors_shown(self._runner.work.said.emit):
                    self._runner.segment(
                        self._request(
                            workspace, tuple(ids), slice_index, axis=axis, join=True
                        )
                    )
        if self._later is not None and not self._runner.is_busy:
            request, self._later = self._later, None
            with errors_shown(self._runner.work.said.emit):
                self._runner.segment(request)
