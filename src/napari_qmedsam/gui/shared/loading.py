"""Loading the chosen model, with its download, as work for a thread."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_qmedsam.checkpoints.exported import SUFFIXES
from napari_qmedsam.checkpoints.resolve import int8_name
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.gui.shared.worker import Report
from napari_qmedsam.runtime import (
    Backend,
    BackendName,
    Precision,
    Runtime,
    find_model,
    load,
    settle,
)
from napari_qmedsam.runtime.subprocess_worker import convert_in_subprocess

REPORT_SECONDS = 0.1
"""Least time between two reports of a download."""


@dataclass(frozen=True)
class ModelChoice:
    """A model and the runtime it is to run on.

    Parameters
    ----------
    model : str
        A name, or the path of a weights file.
    runtime : Runtime
    """

    model: str
    runtime: Runtime = Runtime()

    @property
    def backend(self) -> BackendName:
        """The backend it is to run on."""
        return self.runtime.backend

    @property
    def precision(self) -> Precision:
        """What it is to compute with; quantized files run as they were made."""
        return self.runtime.precision

    @property
    def loaded_name(self) -> str:
        """The name or path that is really loaded: of int8, the quantized sibling."""
        is_int8 = self.precision is Precision.INT8
        return int8_name(self.model) if is_int8 else self.model


@dataclass(frozen=True)
class Downloading:
    """How far a download is; `total` is 0 where it is not known."""

    done: int
    total: int

    def sentence(self) -> str:
        """Return what to say meanwhile."""
        return f"Downloading {self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB…"

    def thousandths(self) -> tuple[int, int]:
        """Return steps done and in all; Qt's bars hold 32 bits, weights are larger."""
        known = self.total > 0
        return (1000 * self.done // self.total, 1000) if known else (0, 0)


LoadModel = Callable[[ModelChoice, Report], Backend]
"""Loads a choice; reports :class:`Downloading`, and sentences."""


def model_of(path: str | Path) -> str:
    """Return what to load for a chosen file: for a graph the folder of its pair."""
    path = Path(path)
    return str(path.parent if path.suffix in SUFFIXES else path)


def load_choice(choice: ModelChoice, report: Report) -> Backend:
    """Download the weights if needed and load them on the chosen runtime.

    Raises
    ------
    QMedSAMError
        If the model cannot be had; Cancelled if it is not wanted any more.
    """
    progress = report_download(report)
    runtime = settle(
        choice.model,
        choice.runtime,
        progress=progress,
        notify=report,
        load_one=_load_converted,
    )
    source = find_model(choice.model, runtime, progress=progress, notify=report)
    return _load_converted(source, runtime)


def _load_converted(source: ModelSource, runtime: Runtime) -> Backend:
    if runtime.backend.entry.runs_openvino_graphs:
        convert_in_subprocess(source)
    return load(source, runtime)


def report_download(report: Report) -> Callable[[int, int | None], None]:
    """Return what a download calls; it passes on one report in a while."""
    last = 0.0

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            report(Downloading(done, total or 0))

    return progress
