"""What ``auto``, the default model, stands for: the best one on this machine.

By what was measured (docs/models.md) that is LiteMedSAM, and the demo model where its
weights are not at hand. Nothing is downloaded unasked: the log, which the shell shows
as a note, and a button in the panel tell of the better one.
"""

import logging
import os
from functools import cache
from pathlib import Path

from napari_qmedsam.checkpoints.catalogue import DEMO, LITE_MEDSAM, CheckpointEntry
from napari_qmedsam.checkpoints.download import is_at_hand
from napari_qmedsam.checkpoints.header import existing

logger = logging.getLogger(__name__)

AUTO = "auto"
"""The name that stands for the best model on this machine."""

PREFERENCE = (LITE_MEDSAM, DEMO)
"""The best first. The last one comes with the package."""


def default_model() -> CheckpointEntry:
    """Return the best model on this machine."""
    for entry in PREFERENCE[:-1]:
        if is_at_hand(entry):
            return entry
    return PREFERENCE[-1]


def better_model() -> CheckpointEntry | None:
    """Return the best model if its weights are still to be fetched."""
    best = PREFERENCE[0]
    return None if is_at_hand(best) else best


def resolve_auto(
    model: str, weights: str | os.PathLike | None = None
) -> tuple[str, Path | None]:
    """Return what `auto` stands for; other models come back as given.

    Where there is a better model the log says so, once in a process.

    Parameters
    ----------
    model : str
    weights : path, optional
        With `auto` the model is that file, whatever its architecture.

    Returns
    -------
    (str, Path or None)
        Model and weights.

    Raises
    ------
    BadCheckpoint
        If a weights file does not exist.
    """
    if model != AUTO:
        return model, None if weights is None else Path(weights)
    if weights is not None:
        return str(existing(weights)), None
    used, better = default_model(), better_model()
    if better is not None:
        _log_once(
            f"'{used.name}' runs, because the weights of the better '{better.name}' "
            f"are not here: qmedsam fetch {better.name} gets them."
        )
    return used.name, None


@cache
def _log_once(notice: str) -> None:
    logger.warning(notice)
