"""The model card: what a model is, for ``qmedsam info`` and the panel."""

from pathlib import Path
from typing import Any

from napari_qmedsam.checkpoints.arithmetic import Arithmetic
from napari_qmedsam.checkpoints.catalogue import CATALOGUE, entry_of
from napari_qmedsam.checkpoints.checksum import CHECKSUM_KEY
from napari_qmedsam.checkpoints.default_model import resolve_auto
from napari_qmedsam.checkpoints.download import is_fetched, weights_path
from napari_qmedsam.checkpoints.header import QUANTIZED_KEY
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.source import ModelSource

LEFT_OUT = ("architecture", "format_version", QUANTIZED_KEY, "layers", CHECKSUM_KEY)
"""Entries of the header that are said otherwise, or are for programs."""


BOXES = "boxes alone; points make masks worse"
"""What the card says of models that have never seen points."""


def describe(model: str) -> dict[str, Any]:
    """Return the card of a model name or a weights file. Nothing is downloaded.

    Raises
    ------
    UnknownModel, BadCheckpoint
        If there is no such model, or the file is none.
    """
    model, _ = resolve_auto(model)
    if model not in CATALOGUE:
        source = resolve_model(model)
        return {"name": Path(model).name, **_of_source(source)}
    entry = entry_of(model)
    origin = {
        "name": entry.name,
        "title": entry.title,
        "licence": entry.licence,
        "page": entry.page,
        "citation": entry.citation,
        "notes": entry.notes,
        "trained_with": BOXES if entry.boxes_only else "",
    }
    path = weights_path(CATALOGUE[model])
    if not is_fetched(entry):
        config = entry.config
        return {
            **_without_blanks(origin),
            "architecture": config.name,
            "input_size": config.input_size,
            "installed": False,
        }
    details = _of_source(ModelSource(entry.config, path))
    return {**_without_blanks(origin), "installed": True, **details}


def is_trained_on_boxes_alone(model: str) -> bool:
    """Tell whether a model's card says that it has never seen points.

    Nothing is downloaded; False where the card does not say.

    Parameters
    ----------
    model : str
        A name, or a weights file or folder.

    Raises
    ------
    UnknownModel, BadCheckpoint
        If there is no such model, or the file is none.
    """
    model, _ = resolve_auto(model)
    if model in CATALOGUE:
        return entry_of(model).boxes_only
    card = resolve_model(model).card
    training, source = card.get("training"), card.get("source")
    if isinstance(training, dict):
        return not training.get("points")
    # Quantized from published weights, which have no card of their own.
    origin = source.get("sha256") if isinstance(source, dict) else None
    return any(
        e.boxes_only and e.sha256 == origin for e in CATALOGUE.values() if origin
    )


def _of_source(source: ModelSource) -> dict[str, Any]:
    config, card = source.config, source.card
    is_packed = source.arithmetic is Arithmetic.PACKED
    return {
        "architecture": config.name,
        "input_size": config.input_size,
        "embedding": f"{config.embedding_channels} x {config.embedding_size} x "
        f"{config.embedding_size}",
        "file": str(source.path),
        "size_bytes": source.size_bytes,
        "sha256": source.sha256,
        **{key: value for key, value in card.items() if key not in LEFT_OUT},
        **({"quantized_layers": len(card[QUANTIZED_KEY])} if is_packed else {}),
    }


def _without_blanks(origin: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in origin.items() if value}
