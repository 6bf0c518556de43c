"""One settings object for float training, from code, file or command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_qmedsam.errors import InvalidSettings


class TrainingSettings(BaseModel):
    """What a float training run does; every field has its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(8000, gt=0, title="Steps", description="Optimizer steps in all.")
    slices_per_step: int = Field(4, gt=0, title="Slices per step")
    prompts: int = Field(6, gt=0, title="Boxes per slice")
    learning_rate: float = Field(1e-3, gt=0, title="Peak learning rate")
    warmup: int = Field(200, ge=0, title="Warm-up steps")
    decay_from: float = Field(
        0.6,
        ge=0,
        le=1,
        title="Decay from",
        description="Share of the steps after which the rate falls along a cosine.",
    )
    weight_decay: float = Field(0.02, ge=0, title="Weight decay")
    clip: float = Field(1.0, gt=0, title="Gradient norm limit")
    averaging: float = Field(
        0.998,
        ge=0,
        lt=1,
        title="Weight averaging",
        description="Decay of the running average that is saved as the model.",
    )
    auxiliary: float = Field(
        0.5,
        ge=0,
        title="Weight of the dense auxiliary loss",
    )
    jitter: int = Field(5, ge=0, title="Box jitter in pixels")
    jitter_from: float = Field(
        0.15,
        ge=0,
        le=1,
        title="Jitter from",
        description="Share of the steps after which boxes are jittered.",
    )
    seed: int = Field(0, ge=0, title="Seed")
    workers: int = Field(1, ge=0, title="Data processes")
    threads: int = Field(
        0, ge=0, title="Torch threads", description="0: torch's choice."
    )
    bfloat16: bool = Field(True, title="bfloat16 arithmetic")
    compile: bool = Field(
        False,
        title="Compile the model",
        description="Minutes at the start, then faster steps; needs a C++ compiler.",
    )
    checkpoint_every: int = Field(200, gt=0, title="Steps between checkpoints")


def load_settings(
    path: Path | None, overrides: Mapping[str, Any] | None = None
) -> TrainingSettings:
    """Read settings from a YAML file; overrides that are not None win.

    Raises
    ------
    InvalidSettings
        Naming the field and what is wrong with it.
    """
    import yaml

    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise InvalidSettings(
                f"Cannot read settings '{path}': {reason}."
            ) from error
        if not isinstance(content, dict):
            raise InvalidSettings(f"Settings '{path}' must be 'name: value' lines.")
    content |= {k: v for k, v in (overrides or {}).items() if v is not None}
    try:
        return TrainingSettings(**content)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidSettings(f"Training setting '{name}': {first['msg']}.") from error
