"""What is done with every case of a cohort; the same on every worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.errors import BadCheckpoint, InvalidSettings
from napari_qmedsam.evaluation.rules import TOLERANCE_MM
from napari_qmedsam.evaluation.variants import Variant
from napari_qmedsam.evaluation.volumes import Mode
from napari_qmedsam.runtime import find_model
from napari_qmedsam.segmentation.propagation import Follow
from napari_qmedsam.volumes.windows import Window

TOLD = ("title", "licence", "limits", "recipe", "package_version", "versions")
"""What of a model's card goes into a run."""


@dataclass(frozen=True)
class PlannedModel:
    """A model that every worker must have, told by its checksum.

    Parameters
    ----------
    variant : Variant
    sha256 : str
        Of its files.
    """

    variant: Variant
    sha256: str

    @classmethod
    def of(cls, variant: Variant) -> "PlannedModel":
        """Take a variant as it is on this machine.

        Raises
        ------
        QMedSAMError
            If its file is gone.
        """
        return cls(variant, find_model(variant.model, variant.runtime).sha256)

    def find(self) -> ModelSource:
        """Find the same model on the machine that this runs on.

        Raises
        ------
        BadCheckpoint
            If its file is another one there.
        """
        source = find_model(self.variant.model, self.variant.runtime)
        if source.sha256 != self.sha256:
            raise BadCheckpoint(
                f"The model '{self.variant.name}' has SHA-256 {source.sha256[:12]}... "
                f"here, but {self.sha256[:12]}... where the run was started. Put the "
                "same file in the same place on every machine."
            )
        return source

    def description(self) -> dict[str, Any]:
        """Return what reports say of the model, as plain data.

        Of its card what was done to it, but no names of files it was made from.
        """
        variant, card = self.variant, self.find().card
        return {
            "name": variant.name,
            "sha256": self.sha256,
            "architecture": variant.architecture,
            "method": variant.method,
            "bits": variant.bits,
            "effective_bits": round(variant.effective_bits, 4),
            "file_bytes": variant.file_bytes,
            "backend": str(variant.backend),
            "precision": str(variant.precision),
            "is_float": variant.is_float,
            "card": {name: card[name] for name in TOLD if name in card},
        }


@dataclass(frozen=True)
class Scoring:
    """Cases are segmented by the boxes of their labels, and scored.

    Parameters
    ----------
    mode : Mode
    classes : tuple of int, optional
        Default: all that a case has.
    box_jitter, seed : int
    tolerance_mm : float
        Of the NSD.
    """

    mode: Mode = Mode.SLICE
    classes: tuple[int, ...] | None = None
    box_jitter: int = 0
    tolerance_mm: float = TOLERANCE_MM
    seed: int = 0


@dataclass(frozen=True)
class Labelling:
    """Cases are segmented by their own boxes, and the labels are written.

    Parameters
    ----------
    folder : Path
        Where the labels go, in a folder for each model.
    """

    folder: Path


@dataclass(frozen=True)
class Plan:
    """What is done with every case.

    Parameters
    ----------
    models : tuple of PlannedModel
        Names are unique.
    task : Scoring or Labelling
    window : Window, optional
        Default: the volume's own.
    follow : Follow
    max_boxes : int
        Boxes decoded at once.
    embedding_bytes : int
        Embeddings that a worker keeps in memory; the rest goes to a temporary folder
        while models that share them run.

    Raises
    ------
    InvalidSettings
        If there is no model, or two have one name.
    """

    models: tuple[PlannedModel, ...]
    task: Scoring | Labelling
    window: Window | None = None
    follow: Follow = Follow.BOX
    max_boxes: int = 32
    embedding_bytes: int = 1 << 29

    def __post_init__(self) -> None:
        names = [model.variant.name for model in self.models]
        if not names:
            raise InvalidSettings("Name at least one model.")
        for name in names:
            if names.count(name) > 1:
                raise InvalidSettings(
                    f"Two models are called '{name}'. Name them: 'NAME:=MODEL'."
                )

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the results, as plain data; runs go on only with the same.

        Models count by name, checksum and arithmetic, wherever their files are.
        """
        task: dict[str, Any] = {"kind": "labelling"}
        if isinstance(self.task, Scoring):
            task = {
                "kind": "scoring",
                "mode": self.task.mode.value,
                "classes": None if self.task.classes is None else [*self.task.classes],
                "box_jitter": self.task.box_jitter,
                "tolerance_mm": self.task.tolerance_mm,
                "seed": self.task.seed,
            }
        window = self.window
        return {
            "task": task,
            "window": None if window is None else [window.lower, window.upper],
            "propagation": self.follow.value,
            "models": [
                {
                    "name": model.variant.name,
                    "sha256": model.sha256,
                    "backend": str(model.variant.backend),
                    "precision": str(model.variant.precision),
                    "device": str(model.variant.runtime.device),
                }
                for model in self.models
            ],
        }
