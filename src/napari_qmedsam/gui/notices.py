"""The one place where errors of this package become napari notifications."""

from collections.abc import Iterator
from contextlib import contextmanager

from napari.utils.notifications import show_error

from napari_qmedsam.errors import QMedSAMError


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show our own errors by their sentence; let every other error pass.

    What passes reaches napari's error dialog, with its traceback.
    """
    try:
        yield
    except QMedSAMError as error:
        show_error(str(error))
