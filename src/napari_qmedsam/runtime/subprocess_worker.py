"""Work in a subprocess: converting a model, first of all.

Tracing and converting hold Python's lock for up to half a second at a time.
An interface that has to stay alive converts here first and then loads what
the other process left on disk.
"""

import contextlib
import logging
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.runtime.conversion import is_converted

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
"""Time between two looks at whether the other process is done."""

CONVERT = """
import pickle, sys
from napari_qmedsam.runtime.conversion import converted
converted(pickle.load(sys.stdin.buffer))
"""


def convert_in_subprocess(source: ModelSource) -> None:
    """Convert a model to OpenVINO unless it has been done, in another process.

    If that fails for any reason nothing is said: loading the model will convert
    it in this process, and raise what there is to raise.

    Raises
    ------
    Cancelled
        If the work is not wanted any more; the other process is ended then.
    """
    if is_converted(source):
        return
    try:
        code, complaint = run_in_subprocess(CONVERT, source)
    except OSError as error:
        code, complaint = -1, str(error)
    if code:
        log.info("Could not convert in a process of its own: %s", complaint)


def run_in_subprocess(
    program: str, payload: Any, progress: Callable[[str], None] = lambda line: None
) -> tuple[int, str]:
    """Run a Python program in another process.

    Parameters
    ----------
    program : str
    payload : object
        Pickled to the program's standard input.
    progress : callable
        Called with each line that the program prints.

    Returns
    -------
    tuple of int and str
        Exit code, and why it failed: the signal that ended it, or the last line
        that was written to standard error.

    Raises
    ------
    Cancelled
        If the work is not wanted any more; the other process is ended then.
    OSError
        If it cannot be started.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as complaints:
        # Our own bytes, to our own program: nobody else can write them.
        pickle.dump(payload, given)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
        printed: SimpleQueue[str] = SimpleQueue()
        reader = Thread(target=_read, args=(process.stdout, printed), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                check_cancelled()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
                _tell(printed, progress)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        reader.join()
        _tell(printed, progress)
        complaints.seek(0)
        lines = complaints.read().decode(errors="replace").strip().splitlines()
    return process.returncode, _reason(process.returncode, lines)


def _reason(code: int, complaints: list[str]) -> str:
    if code < 0:  # out of memory, or an instruction that the processor lacks
        return f"its process was ended by {signal.Signals(-code).name}."
    if code and not complaints:
        return f"its process ended with code {code} and said nothing."
    return complaints[-1] if complaints else ""


def _read(pipe: IO[bytes], lines: "SimpleQueue[str]") -> None:
    with pipe:
        for line in pipe:
            lines.put(line.decode(errors="replace").rstrip())


def _tell(lines: "SimpleQueue[str]", progress: Callable[[str], None]) -> None:
    while not lines.empty():
        progress(lines.get())
