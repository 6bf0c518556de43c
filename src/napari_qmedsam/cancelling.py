"""Stopping work in the middle of one long step.

A slice of MedSAM ViT-B takes seconds to encode, one of its layers seconds to
quantize. Who runs the work says once how to ask whether it is still wanted; the
steps look, as often as they can, without having the question handed down to them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from napari_qmedsam.errors import Cancelled

_asked = threading.local()


@contextmanager
def cancellable(should_cancel: Callable[[], bool]) -> Iterator[None]:
    """Let the steps of this thread ask a function whether to go on.

    Parameters
    ----------
    should_cancel : callable
        True once the work is not wanted any more. Asked often: must be cheap.
    """
    before = getattr(_asked, "should_cancel", None)
    _asked.should_cancel = should_cancel
    try:
        yield
    finally:
        _asked.should_cancel = before


def check_cancelled() -> None:
    """Stop here if the work of this thread is not wanted any more.

    Raises
    ------
    Cancelled
        If so.
    """
    should_cancel = getattr(_asked, "should_cancel", None)
    if should_cancel is not None and should_cancel():
        raise Cancelled("Cancelled.")
