"""Stopping work before its end: the one way to do it.

A slice of MedSAM ViT-B takes seconds to encode, one of its layers seconds to
quantize, a download minutes. Who runs the work says once, for the thread, how to ask
whether it is still wanted::

    with cancellable(stop.is_set):
        QuantizationJob(source, settings, plan).run(target)

Whatever takes long in there looks as often as it can, without having the question
handed down to it. Generators can be left as well, by asking them for nothing more.
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


def is_cancelled() -> bool:
    """Tell whether the work of this thread is not wanted any more."""
    should_cancel = getattr(_asked, "should_cancel", None)
    return should_cancel is not None and bool(should_cancel())


@contextmanager
def stopping_says(where: str) -> Iterator[None]:
    """Name the work of this block for whatever stops deep inside it.

    Parameters
    ----------
    where : str
        What the error says where `check_cancelled` is given no words of its own.
    """
    before = getattr(_asked, "where", None)
    _asked.where = where
    try:
        yield
    finally:
        _asked.where = before


def check_cancelled(where: str | None = None) -> None:
    """Stop here if the work of this thread is not wanted any more.

    Parameters
    ----------
    where : str, optional
        What the error says: what was stopped, and what is kept. By default what
        the innermost `stopping_says` names.

    Raises
    ------
    Cancelled
        If so.
    """
    if is_cancelled():
        raise Cancelled(where or getattr(_asked, "where", None) or "Cancelled.")
