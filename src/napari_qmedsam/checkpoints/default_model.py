"""What ``auto``, the default model, stands for: the best one by what was measured.

That is `qmedsam_lite` (docs/models.md), which comes with the package.
"""

import os
from pathlib import Path

from napari_qmedsam.checkpoints.catalogue import QMEDSAM_LITE
from napari_qmedsam.checkpoints.header import existing

AUTO = "auto"
"""The name that stands for the best model."""

DEFAULT = QMEDSAM_LITE
"""The best model."""


def resolve_auto(
    model: str, weights: str | os.PathLike | None = None
) -> tuple[str, Path | None]:
    """Return what `auto` stands for; other models come back as given.

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
    return DEFAULT.name, None
