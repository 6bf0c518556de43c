"""Converting a model in a process of its own.

Tracing and converting hold Python's lock for up to half a second at a time.
An interface that has to stay alive converts here first and then loads what
the other process left on disk.
"""

import logging
import pickle
import subprocess
import sys
from collections.abc import Callable

from napari_qmedsam.errors import Cancelled
from napari_qmedsam.models.checkpoints import ModelSource
from napari_qmedsam.runtime.conversion import is_converted

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
"""Time between two looks at whether the other process is done."""

PROGRAM = """
import pickle, sys
from napari_qmedsam.runtime.conversion import converted
converted(pickle.load(sys.stdin.buffer))
"""


def convert_apart(
    source: ModelSource, should_cancel: Callable[[], bool] = lambda: False
) -> None:
    """Convert a model to OpenVINO unless it has been done, in another process.

    If that fails for any reason nothing is said: loading the model will convert
    it in this process, and raise what there is to raise.

    Raises
    ------
    Cancelled
        If `should_cancel` said so; the other process is ended then.
    """
    if not sys.executable or is_converted(source):
        return
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    try:
        # Our own bytes, to our own program: nobody else can write them.
        process.stdin.write(pickle.dumps(source))
        process.stdin.close()
        while process.poll() is None:
            if should_cancel():
                raise Cancelled("Cancelled while the model was converted.")
            try:
                process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    except OSError as error:
        log.info("Cannot convert in a process of its own: %s", error)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
