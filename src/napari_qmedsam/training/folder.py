"""The folder of a training run: checkpoint, weights of epochs, log, loss plot."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from napari_qmedsam.disk import atomic_write
from napari_qmedsam.errors import BadCheckpoint, InvalidSettings
from napari_qmedsam.training.settings import CommonSettings

LAST = "last.pt"
"""Everything needed to go on."""

Row = dict[str, float | int | str]
"""One line of the log."""

OF_THE_SAMPLES = ("seed", "slices_per_step", "prompts", "samples", "strategy")
"""Settings that say which samples a step sees; a run keeps them."""


class TrainingFolder:
    """Reads and writes the files of a run, each whole or not at all.

    Parameters
    ----------
    path : Path
        Made if missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def read(self, architecture: str, settings: CommonSettings) -> dict[str, Any]:
        """Return the last checkpoint; empty where the run is new.

        Raises
        ------
        BadCheckpoint
            If it is damaged, or of another architecture.
        InvalidSettings
            If the run sees other samples.
        """
        path = self.path / LAST
        if not path.exists():
            return {}
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            fits = state["architecture"] == architecture
            before = state["settings"]
        except Exception as error:
            raise self.refusal(architecture) from error
        if not fits:
            raise self.refusal(architecture)
        now = settings.model_dump(mode="json")
        for name in OF_THE_SAMPLES:
            if name in before and before[name] != now[name]:
                raise InvalidSettings(
                    f"The run in '{self.path}' was started with {name} "
                    f"{before[name]}, but {now[name]} is asked for. Give the same, or "
                    "another folder."
                )
        return state

    def refusal(self, architecture: str) -> BadCheckpoint:
        """Make the error that a run cannot be gone on with."""
        return BadCheckpoint(
            f"Cannot go on with the run in '{self.path / LAST}': it is damaged or not "
            f"of the model '{architecture}'. Choose another folder, or delete it."
        )

    def write(self, state: Mapping[str, Any]) -> None:
        """Save a checkpoint and the log in it."""
        self._save(state, self.path / LAST)
        write_log(state["rows"], self.path / "log.csv")

    def epoch_path(self, stage: str, epoch: int) -> Path:
        """Return where the weights of an epoch are, counted from 1."""
        return self.path / stage / f"epoch-{epoch:03d}.pt"

    def write_epoch(self, stage: str, epoch: int, weights: Mapping[str, Any]) -> None:
        """Keep the weights of an epoch."""
        path = self.epoch_path(stage, epoch)
        path.parent.mkdir(exist_ok=True)
        self._save(weights, path)

    def read_epoch(self, stage: str, epoch: int) -> dict[str, Any]:
        """Return the weights of an epoch.

        Raises
        ------
        BadCheckpoint
            If the file is gone or damaged.
        """
        path = self.epoch_path(stage, epoch)
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise BadCheckpoint(
                f"The run needs the weights '{path}', which are gone or damaged. Train "
                "anew in another folder."
            ) from error

    def keep_only(self, stage: str, epoch: int) -> None:
        """Delete the weights of all other epochs of a stage."""
        kept = self.epoch_path(stage, epoch)
        for path in kept.parent.glob("epoch-*.pt"):
            if path != kept:
                path.unlink()

    def _save(self, content: Mapping[str, Any], path: Path) -> None:
        with atomic_write(path) as part:
            torch.save(dict(content), part)


def write_log(rows: list[Row], path: Path) -> None:
    """Write the log as CSV: a column for whatever any row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        atomic_write(path) as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()}
            )
