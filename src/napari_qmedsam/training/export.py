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
    start: str | None = None,
    config: Path | None = None,
) -> Path:
    """Write the best epoch of a float run.

    Parameters
    ----------
    run : FloatTraining
    export : Path
        Ends in ``.safetensors``.
    start : str, optional
        Name of the model whose weights the run started from.
    config : Path, optional
        The settings file; its name is for the command on the card.

    Returns
    -------
    Path
        The weights with their card.
    """
    settings = run.settings
    card = {
        "title": float_title(run.config.name, run.data),
        **shared_card(run.data),
        "training": {
            "data": described(run.data),
            "step": run.step,
            "best_epoch": run.history.best.get(STAGE, (None, None))[0],
            **({"start": start} if start else {}),
            **settings.model_dump(include={"seed", "slices_per_step", "prompts"}),
        },
        "command": (
            f"qmedsam train float --model {run.config.name} --data {run.data.source}"
            + (f" --start {start}" if start else "")
            + _config_option(config)
            + f" --steps {settings.steps} --seed {settings.seed}"
        ),
    }
    return save_model(run.best(), export, card)


def export_qat(
    run: QuantizationAwareTraining,
    export: Path,
    start: str,
    stage: str,
    config: Path | None = None,
    compact: bool = False,
) -> Path:
    """Write the best epoch of a stage of quantization-aware training.

    Parameters
    ----------
    run : QuantizationAwareTraining
    export : Path
        Ends in ``.safetensors``.
    start : str
        Name of the float model.
    stage : str
    config : Path, optional
        The settings file; its name is for the command on the card.
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
        **shared_card(run.data),
        "training": {
            "data": described(run.data),
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
        "command": (
            f"qmedsam train qat --model {start} --data {run.data.source}"
            + _config_option(config)
            + f" --seed {settings.seed}"
        ),
    }
    return save_model(model, export, card, compact=compact)


def _config_option(config: Path | None) -> str:
    """Return the settings file as an option of a command, without its folder."""
    return f" --config {config.name}" if config else ""


def float_title(architecture: str, data: DataSet) -> str:
    """Return a line for people."""
    what = "generated phantoms" if data.is_phantom else "a data folder"
    if architecture == "demo":
        return f"Demo model, small, trained on {what}"
    return f"Model of the architecture {architecture}, trained on {what}"


def shared_card(data: DataSet) -> dict[str, Any]:
    """Return what every card of a model trained here says."""
    limits = f"{LIMITS} {PHANTOM_LIMITS}" if data.is_phantom else LIMITS
    card: dict[str, Any] = {"limits": limits}
    if data.is_phantom:
        card["licence"] = "Apache-2.0"
    return {**card, "package_version": napari_qmedsam.__version__}


def described(data: DataSet) -> str:
    """Say what was trained on, without the name of a folder."""
    if data.is_phantom:
        return f"procedural phantoms ({data.source}), no patient data"
    counts = zip(data.names, data.counts, strict=True)
    listed = ", ".join(f"{count} {name} slices" for name, count in counts)
    return f"a data folder with {listed}"
