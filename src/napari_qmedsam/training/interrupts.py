"""Ctrl-C while training, and data processes that survive it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def interrupt_held() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait until the step in hand is whole.

    Yields a function that tells whether it was pressed. Pressed again, it
    stops at once, and what came after the last checkpoint is lost. Outside the
    main thread nothing is changed: signals do not arrive there.
    """
    pressed = False

    def note(number: int, frame: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def opencv_without_threads() -> Iterator[None]:
    """Let processes be forked: a child waits forever for threads it did not get."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def one_thread(worker: int) -> None:
    """Keep data processes off the trainer's cores, and from dying of Ctrl-C.

    A terminal sends Ctrl-C to them as well, and the trainer still needs them
    to finish its step.
    """
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
