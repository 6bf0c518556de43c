"""What the file of a quantized model says of itself."""

from importlib.metadata import version
from typing import Any

import napari_qmedsam
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.quantization.whole_model import QuantizedModel

LIBRARIES = ("torch", "numpy", "safetensors")
"""Libraries whose versions decide the numbers."""

KEPT = ("licence", "limits", "citation", "training")
"""What the card takes over from that of the float model."""


def quantized_card(
    result: QuantizedModel, source: ModelSource, sequential: bool
) -> dict[str, Any]:
    """Return the card of a quantized model, plain JSON.

    Source checkpoint with its SHA-256, recipe, calibration, effective bits,
    the error of each layer, and library versions.
    """
    reports = {
        name: {
            "objective": list(report.objective),
            "relative_error": report.relative_error,
        }
        for name, report in result.reports.items()
    }
    return {
        **{key: value for key, value in source.card.items() if key in KEPT},
        "title": f"{source.config.name}, quantized after training",
        "source": {"file": source.path.name, "sha256": source.sha256},
        "recipe": result.recipe.model_dump(mode="json"),
        "calibration": {**result.calibration, "sequential": sequential},
        "effective_bits": result.effective_bits,
        "stored_bytes": result.stored_bytes,
        "layers": reports,
        "versions": {
            "napari-qmedsam": napari_qmedsam.__version__,
            **{name: version(name) for name in LIBRARIES},
        },
    }
