"""The one error tree of the package.

Every class derives from :class:`QMedSAMError` and from the builtin a caller
would expect, so ``except ValueError`` keeps working. Messages name what
failed, the value, the place and what to do next; the command line and the
panel show them as they are.
"""

from collections.abc import Callable, Sequence


class QMedSAMError(Exception):
    """Base of every error that bad input or a missing part can cause."""


class UnreadableVolume(QMedSAMError, ValueError):
    """A file cannot be read as a volume."""


class UnwritableLabels(QMedSAMError, OSError):
    """A label volume cannot be written where it was asked to go."""


class AmbiguousSeries(UnreadableVolume):
    """A DICOM folder holds several series and none was chosen."""


class InvalidVolume(QMedSAMError, ValueError):
    """Array, spacing or affine do not make a volume."""


class InvalidWindow(QMedSAMError, ValueError):
    """An intensity window is empty or not a number."""


class InvalidBox(QMedSAMError, ValueError):
    """A box is empty, or lies outside the volume."""


class InvalidPrompt(QMedSAMError, ValueError):
    """A prompt is not of the form a model takes."""


class GridMismatch(QMedSAMError, ValueError):
    """Two volumes that must share a grid do not."""


class UnknownModel(QMedSAMError, KeyError):
    """No model of that name, and no file at that path."""

    def __str__(self) -> str:
        """Return the sentence itself; KeyError would quote it."""
        return str(self.args[0]) if self.args else ""


class BadCheckpoint(QMedSAMError, ValueError):
    """A weights file does not fit the model, or is damaged."""


class InvalidOutput(QMedSAMError, ArithmeticError):
    """A model gave values that are not finite."""


class DownloadFailed(QMedSAMError, ConnectionError):
    """Weights could not be downloaded or failed verification."""


class MissingDependency(QMedSAMError, ImportError):
    """An optional package is needed; the message says how to install it."""


class UnsupportedBackend(QMedSAMError, ValueError):
    """That backend or precision does not exist for this model."""


class UnsupportedQuantization(QMedSAMError, ValueError):
    """A weight cannot be quantized in the way that was asked for."""


class CalibrationMismatch(QMedSAMError, ValueError):
    """A Gram matrix does not belong to the weight, or is not one."""


class UnusableData(QMedSAMError, ValueError):
    """A data folder holds nothing, or too little, to train on or to score."""


class InvalidSettings(QMedSAMError, ValueError):
    """A settings value is outside its range."""


class NothingThere(InvalidSettings):
    """There is nothing to work on, on slices that the message names.

    Parameters
    ----------
    before, after : str
        What is said before and after the slices.
    slices : sequence of int
        One, or the first and the last.
    axis : int
        Array axis that they are counted along.
    """

    def __init__(
        self, before: str, slices: Sequence[int], after: str, axis: int = 0
    ) -> None:
        self._parts, self._slices, self._axis = (before, after), tuple(slices), axis
        first, last = min(slices), max(slices)
        where = f"slice {first}" if first == last else f"slices {first} to {last}"
        super().__init__(f"{before} {where}{after}")

    def numbered(self, number: Callable[[int, int], int]) -> "NothingThere":
        """Return it with the numbers that slices are known by elsewhere.

        Parameters
        ----------
        number : callable
            Given index and axis of a slice.
        """
        (before, after), axis = self._parts, self._axis
        numbers = [number(z, axis) for z in self._slices]
        return NothingThere(before, numbers, after, axis)


class Cancelled(QMedSAMError, RuntimeError):
    """The caller asked for work to stop."""
