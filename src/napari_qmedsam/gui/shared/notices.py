"""The one place where errors of this package become napari notifications."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from napari.utils.notifications import show_error

from napari_qmedsam.errors import QMedSAMError

Say = Callable[[str], None]
"""Shows a sentence in a panel."""


@contextmanager
def errors_shown(say: Say) -> Iterator[None]:
    """Show our own errors by their sentence; let every other error pass.

    What passes reaches napari's error dialog, with its traceback.

    Parameters
    ----------
    say : callable
        Called with the sentence: napari's notice goes by itself, and cuts a
        long one off; the panel's line stays.
    """
    try:
        yield
    except QMedSAMError as error:
        say(str(error))
        show_error(str(error))
