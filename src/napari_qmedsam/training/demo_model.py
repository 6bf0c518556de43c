"""Train the embedded demo model and write it with its card."""

from collections.abc import Callable
from pathlib import Path

import napari_qmedsam
from napari_qmedsam.models.checkpoints import save_model
from napari_qmedsam.training.float_training import FloatTraining
from napari_qmedsam.training.settings import TrainingSettings

LIMITS = (
    "For research and for trying the software out. Not a medical device and not "
    "for clinical use. Trained on generated pictures only: it follows visible "
    "edges inside a box and knows no anatomy or pathology. Check every mask."
)
"""What the model is not; shown wherever its card is shown."""


def train_demo_model(
    folder: Path,
    settings: TrainingSettings,
    export: Path,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> Path:
    """Train until the last step (or go on with a run), then write the weights.

    Interrupting with Ctrl-C saves the run; the same call goes on with it.

    Returns
    -------
    Path
        The weights with their card.
    """
    run = FloatTraining("demo", folder, settings)
    run.run(progress)
    return export_average(run, export)


def export_average(run: FloatTraining, export: Path) -> Path:
    """Write the running average of a training run as the demo model."""
    settings = run.settings
    card = {
        "title": "Demo model, small, trained on generated phantoms",
        "licence": "Apache-2.0",
        "limits": LIMITS,
        "training": {
            "data": "procedural phantoms, no patient data",
            "step": run.step,
            **settings.model_dump(include={"seed", "slices_per_step", "prompts"}),
        },
        "command": (
            f"qmedsam train demo --steps {settings.steps} --seed {settings.seed}"
        ),
        "package_version": napari_qmedsam.__version__,
    }
    return save_model(run.averaged(), export, card)
