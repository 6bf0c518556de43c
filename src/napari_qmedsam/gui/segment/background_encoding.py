"""Slices encoded while nobody asks for anything, so that their first box is quick."""

from collections.abc import Callable
from threading import Thread
from weakref import ref

from qtpy.QtCore import QObject, QTimer

from napari_qmedsam.gui.segment.workspaces import Workspaces
from napari_qmedsam.gui.shared.work import Work
from napari_qmedsam.gui.shared.worker import Report, Worker
from napari_qmedsam.segmentation.encoding_ahead import encode_ahead
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.reslicing import seen_along

START_MS = 400
"""How long nothing has to happen before slices are encoded."""


class BackgroundEncoding(QObject):
    """Encodes the scan in hand from the slice in view outward, with the loaded model.

    It stops as soon as the panel has work to do, another slice comes into view, or
    another scan or window: an encoding is left in its middle where the backend can.

    Parameters
    ----------
    workspaces : Workspaces
    work : Work
        What goes first.
    segmenter : callable
        Returns the model that is loaded, or None.
    is_wanted : bool
        Whether anything is encoded ahead at all.
    """

    def __init__(
        self,
        workspaces: Workspaces,
        work: Work,
        segmenter: Callable[[], SliceSegmenter | None],
        is_wanted: bool = True,
    ) -> None:
        super().__init__(workspaces)
        self.is_wanted = is_wanted
        self._workspaces, self._work, self._segmenter = workspaces, work, segmenter
        self._worker = Worker(self)
        self._done: tuple[object, ...] | None = None
        """What was encoded as far as there is room: scan, axis, window and model.

        By weak references: neither a closed scan nor a model that was exchanged for
        another is kept by it.
        """
        self._ready: tuple[object, ...] | None = None
        """The slice that was made ready last, of what in `_done`."""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(START_MS)
        self._timer.timeout.connect(self._begin)
        work.changed.connect(self.start)
        workspaces.turned.connect(self.start)
        self._steps = workspaces.viewer.dims.events.current_step
        self._steps.connect(self.start)

    @property
    def is_busy(self) -> bool:
        """Whether a slice is being encoded."""
        return self._worker.is_busy

    def start(self) -> None:
        """Give way now; encode, from the slice in view then, once nothing happens."""
        self._worker.cancel()
        if self.is_wanted:
            self._timer.start()

    def close(self) -> list[Thread]:
        """Stop for good; return the thread that was encoding."""
        self._timer.stop()
        self._steps.disconnect(self.start)
        return self._worker.close()

    def _begin(self) -> None:
        workspace, segmenter = self._workspaces.current, self._segmenter()
        if workspace is None or segmenter is None or self._work.is_busy:
            return
        if self._worker.is_busy:  # told to stop, but has not yet
            self._timer.start()
            return
        axis, slice_index = workspace.view.place
        volume, window = workspace.session.volume, workspace.window()
        wanted = ref(workspace), axis, window, ref(segmenter)
        in_view = *wanted, slice_index
        if in_view == self._ready:
            return
        is_done = wanted == self._done

        def job(report: Report) -> None:
            segmenter.make_ready(seen_along(volume, axis), slice_index, window)
            if not is_done:
                for _ in encode_ahead(segmenter, volume, window, slice_index, axis):
                    pass

        def ended(error: BaseException | None) -> None:
            if error is None:
                self._done, self._ready = wanted, in_view

        self._worker.start(job, lambda _: None, ended)
