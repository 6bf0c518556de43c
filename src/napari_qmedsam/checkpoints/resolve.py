"""Which model is meant: a name or a path, and a precision, to a `ModelSource`.

The one place that decides it, for the shell, for Python and for the window.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.checkpoints.default_model import resolve_auto
from napari_qmedsam.checkpoints.download import fetch, is_fetched
from napari_qmedsam.checkpoints.exported import read_exported
from napari_qmedsam.checkpoints.header import TILED_SHARE_KEY, existing, read_card
from napari_qmedsam.checkpoints.model_state import ENCODER_ALONE, is_encoder_alone
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.checkpoints.state_dicts import read_state
from napari_qmedsam.errors import BadCheckpoint, UnknownModel
from napari_qmedsam.models.configuration import CONFIGS, ModelConfig, config_of


def resolve_model(
    model: str,
    weights: str | os.PathLike | None = None,
    precision: Precision = Precision.FP32,
    *,
    progress: Callable[[int, int | None], None] | None = None,
) -> ModelSource:
    """Find the weights for a model name or a weights file.

    Official weights are downloaded the first time.

    Parameters
    ----------
    model : str
        ``auto``, the best model (:mod:`.default_model`), ``qmedsam_lite``, ``demo``,
        ``lite_medsam``, ``medsam_vit_b``, or the path of a weights
        file, or of a folder with exported graphs, whose architecture is then
        recognised.
    weights : path, optional
        A file to use for a named model instead of the cached download; with
        ``auto`` its architecture is recognised.
    precision : Precision
        Of a named model asked for in int8, the sibling that was trained for it is
        taken, if it is on this machine.
    progress : callable, optional
        Called while downloading with bytes so far and bytes in all.

    Raises
    ------
    UnknownModel
        If the name is unknown and no such file exists.
    BadCheckpoint
        If the file is not a model of this family.
    DownloadFailed
        If official weights are needed and cannot be had.
    """
    model, weights = resolve_auto(model, weights)
    if model in CATALOGUE or model in CONFIGS:
        if weights is not None:
            entry = CATALOGUE.get(model)
            config = entry.config if entry else config_of(model)
            return ModelSource(config, existing(weights))
        if precision is Precision.INT8:
            model = int8_name(model)
        path = fetch(model, progress=progress)
        return ModelSource(CATALOGUE[model].config, path, model)
    known = ", ".join(CATALOGUE)
    if weights is not None:
        raise UnknownModel(
            f"Weights were given for '{model}', which is no model. Known: {known}. "
            "A weights file can also be given in place of the model's name."
        )
    path = Path(model)
    if not path.exists():
        raise UnknownModel(
            f"'{model}' is neither a model ({known}) nor an existing weights file."
        )
    if path.is_dir():
        graphs = read_exported(path)
        return ModelSource(graphs.config, path, graphs=graphs)
    return ModelSource(_recognised(path), path)


def int8_name(model: str) -> str:
    """Return the name of a named model's int8 sibling; `model` if there is none.

    A sibling whose weights are not on this machine does not count.
    """
    sibling = CATALOGUE[model].int8 if model in CATALOGUE else ""
    return sibling if sibling and is_fetched(CATALOGUE[sibling]) else model


def _recognised(path: Path) -> ModelConfig:
    """Tell the architecture from the card, or from names and shapes."""
    card = read_card(path)
    architecture = card.get("architecture")
    if architecture is not None:
        if architecture not in CONFIGS:
            raise BadCheckpoint(
                f"'{path.name}' is a model of architecture '{architecture}', which "
                f"this release does not know ({', '.join(CONFIGS)})."
            )
        config = config_of(architecture)
        share = card.get(TILED_SHARE_KEY, config.tiled_share)
        if not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise BadCheckpoint(
                f"The card of '{path.name}' gives {TILED_SHARE_KEY} as {share!r}, not "
                "as a share of a slice's side, from 0 to 1."
            )
        return replace(config, tiled_share=float(share))
    state = read_state(path)
    for config in CONFIGS.values():
        name, size = config.encoder.mark
        if name in state and state[name].shape[-1] == size:
            return config
    if is_encoder_alone(state):
        raise BadCheckpoint(f"'{path.name}' is not a whole model. {ENCODER_ALONE}")
    raise BadCheckpoint(
        f"'{path.name}' is not a model of the MedSAM family: its first tensor is "
        f"'{next(iter(state))}'."
    )
