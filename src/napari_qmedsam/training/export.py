"""Write a trained model with its card."""

from pathlib import Path
from typing import Any

import napari_qmedsam
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.datasets.dataset import DataSet
from napari_qmedsam.training.float_training import STAGE, FloatTraining
from napari_qmedsam.training.qat import QuantizationAwareTraining

LIMITS = (
    "For research and for trying the software out. Not a medical device and not "
    "for clinical use. Check every mask."
)
"""What no model trained here is; shown wherever its card is shown."""

PHANTOM_LIMITS = (
    "Trained on generated pictures only: it follows visible edges inside a box and "
    "knows no anatomy or pathology."
)
"""What models trained on phantoms are not, besides."""


def export_float(
    run: FloatTraining,
    export: Path,
    command: str = "",
    start: str | None = None,
    compact: bool = False,
) -> Path:
    """Write the best epoch of a float run.

    Parameters
    ----------
    run : FloatTraining
    export : Path
        Ends in ``.safetensors``.
    command : str, optional
        What to type for the same run, for the card.
    start : str, optional
        Name of the model whose weights the run started from.
    compact : bool
        Round the weights to 8 bits, for a file a quarter of the size.

    Returns
    -------
    Path
        The weights with their card.
    """
    settings = run.settings
    card = {
        "title": float_title(run.config.name, run.data),
        **shared_card(run.data, is_naive=start is None and not run.pseudo_labelled),
        "training": {
            "data": described(run.data, run.pseudo_labelled),
            "step": run.step,
            "best_epoch": run.history.best.get(STAGE, (None, None))[0],
            **({"start": start} if start else {}),
            **settings.model_dump(
                include={
                    "seed",
                    "slices_per_step",
                    "prompts",
                    "points",
                    "fat",
                    "outlines",
                    "start_share",
                }
            ),
        },
        **({"command": command} if command else {}),
    }
    return save_model(run.best(), export, card, compact=compact)


def export_qat(
    run: QuantizationAwareTraining,
    export: Path,
    command: str,
    start: str,
    stage: str,
    compact: bool = False,
) -> Path:
    """Write the best epoch of a stage of quantization-aware training.

    Parameters
    ----------
    run : QuantizationAwareTraining
    export : Path
        Ends in ``.safetensors``.
    command : str
        What to type for the same run, for the card; empty if there is none.
    start : str
        Name of the float model.
    stage : str
    compact : bool
        Write weights as 8-bit integers; see :func:`save_model`.

    Returns
    -------
    Path
        Weights and scales with their card.
    """
    model, settings = run.best(stage), run.settings
    epoch, score = run.history.best[stage]
    card = {
        "title": f"{float_title(model.config.name, run.data)}, for int8",
        **shared_card(run.data, is_naive=model.config.name == "demo"),
        "training": {
            "data": described(run.data, run.pseudo_labelled),
            "start": start,
            "stage": stage,
            "best_epoch": epoch,
            **({"validation_dsc": round(score, 2)} if run.validation else {}),
            **settings.model_dump(
                include={
                    "seed",
                    "slices_per_step",
                    "prompts",
                    "samples",
                    "warmup_epochs",
                    "annealing_epochs",
                    "learning_rate",
                },
                mode="json",
            ),
        },
        **({"command": command} if command else {}),
    }
    return save_model(model, export, card, compact=compact)


def float_title(architecture: str, data: DataSet) -> str:
    """Return a line for people."""
    what = "generated phantoms" if data.is_phantom else "a data folder"
    if architecture == "demo":
        return f"Demo model, small, trained on {what}"
    return f"Model of the architecture {architecture}, trained on {what}"


def shared_card(data: DataSet, is_naive: bool) -> dict[str, Any]:
    """Return what every card of a model trained here says.

    A naive model has seen nothing but these data.
    """
    only_phantoms = data.is_phantom and is_naive
    limits = f"{LIMITS} {PHANTOM_LIMITS}" if only_phantoms else LIMITS
    card: dict[str, Any] = {"limits": limits}
    if data.is_phantom:
        card["licence"] = "Apache-2.0"
    return {**card, "package_version": napari_qmedsam.__version__}


def described(data: DataSet, pseudo_labelled: DataSet | None = None) -> str:
    """Say what was trained on, without the name of a folder."""
    if pseudo_labelled is not None:
        return f"{_named(data)}, and {_counted(pseudo_labelled)} labelled by a model"
    return f"{_named(data)}{', no patient data' if data.is_phantom else ''}"


def _named(data: DataSet) -> str:
    if data.is_phantom:
        return f"procedural phantoms ({data.source})"
    return f"a data folder with {_counted(data)}"


def _counted(data: DataSet) -> str:
    counts = zip(data.names, data.counts, strict=True)
    return ", ".join(f"{count} {name} slices" for name, count in counts)
