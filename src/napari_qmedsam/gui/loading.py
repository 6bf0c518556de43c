"""Loading the chosen model, with its download, as work for a thread."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from napari_qmedsam.gui.workers import Report, ShouldStop
from napari_qmedsam.runtime import Backend, load_backend

REPORT_SECONDS = 0.1
"""Least time between two reports of a download."""


@dataclass(frozen=True)
class ModelChoice:
    """A model and the runtime it is to run on.

    Parameters
    ----------
    model : str
        A name, or the path of a weights file.
    backend : str
        ``openvino`` or ``torch``.
    """

    model: str
    backend: str


@dataclass(frozen=True)
class Downloading:
    """How far a download is; `total` is 0 where it is not known."""

    done: int
    total: int


LoadModel = Callable[[ModelChoice, Report, ShouldStop], Backend]
"""Loads a choice; reports :class:`Downloading`."""


def load_model(choice: ModelChoice, report: Report, should_stop: ShouldStop) -> Backend:
    """Download the weights if needed and load them on the chosen runtime.

    Raises
    ------
    QMedSAMError
        If the model cannot be had; Cancelled if `should_stop` said so.
    """
    last = 0.0

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            report(Downloading(done, total or 0))

    return load_backend(
        choice.model, choice.backend, progress=progress, should_cancel=should_stop
    )
