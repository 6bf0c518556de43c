"""One settings object per kind of training, from code, file or command line."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_qmedsam.datasets.sampling import Strategy
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.training.boxes import BoxStyle


class CommonSettings(BaseModel):
    """What every kind of training has; every field has its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: int = Field(6, gt=0, title="Boxes per slice")
    samples: int | None = Field(
        None,
        gt=0,
        title="Slices per modality and epoch",
        description="N_s of QMedSAM. Default: by the strategy; 200 of phantoms.",
    )
    strategy: Strategy = Field(
        Strategy.MINIMUM,
        title="Sampling strategy",
        description="minimum: as many slices of each modality as the smallest has. "
        "tenth: a tenth of each, but no fewer than that. all: every slice.",
    )
    flips: bool = Field(
        True, title="Flips", description="Of slices from files; phantoms have theirs."
    )
    shells: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Share of phantoms with a shell",
        description="A crescent, ring or arc is painted around one of the objects.",
    )
    boxes: BoxStyle = Field(
        BoxStyle.JITTERED,
        title="Boxes",
        description="jittered: half tight, half moved by a few pixels. careless: as "
        "people draw them, loose or misplaced, and as a neighbouring slice gives them.",
    )
    jitter: int = Field(5, ge=0, title="Jitter of jittered boxes in pixels")
    points: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Share of steps with points",
        description="One or two clicks in or beside the object go with each box.",
    )
    validation_slices: int = Field(
        16,
        ge=0,
        title="Validation slices",
        description="Of each modality, after every epoch. 0: the last epoch is kept.",
    )
    keep_epochs: bool = Field(
        False, title="Keep the weights of every epoch, not only of the best"
    )
    clip: float = Field(1.0, gt=0, title="Gradient norm limit")
    freeze_batch_norm: bool = Field(
        False,
        title="Freeze batch norm",
        description="Use the running statistics and leave them as they are.",
    )
    seed: int = Field(0, ge=0, title="Seed")
    workers: int = Field(1, ge=0, title="Data processes")
    threads: int = Field(
        0, ge=0, title="Torch threads", description="0: torch's choice."
    )
    checkpoint_every: int = Field(200, gt=0, title="Steps between checkpoints")


class TrainedPart(str, Enum):
    """What a float run trains."""

    ALL = "all"

    DECODER = "decoder"
    """Prompt encoder and mask decoder, on embeddings that are computed once."""


class TrainingSettings(CommonSettings):
    """What a float training run does."""

    part: TrainedPart = Field(
        TrainedPart.ALL,
        title="What is trained",
        description="decoder: the image encoder stays as it is; as many slices as an "
        "epoch has are embedded once and kept in the run's folder (2 MB each).",
    )
    mask_distillation: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Share of the teacher's mask",
        description="Where the masks of the weights one starts from agree with the "
        "label, targets are drawn to them by this share.",
    )
    quality: float = Field(
        0.0,
        ge=0,
        title="Weight of the quality loss",
        description="Trains the model's guess of its own overlap with the truth.",
    )

    steps: int = Field(8000, gt=0, title="Steps", description="Optimizer steps in all.")
    slices_per_step: int = Field(
        4, gt=0, title="Slices per step", description="Of each process."
    )
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
    jitter_from: float = Field(
        0.15,
        ge=0,
        le=1,
        title="Jitter from",
        description="Share of the steps after which boxes are jittered.",
    )
    bfloat16: bool | None = Field(
        None,
        title="bfloat16 arithmetic",
        description="Default: where the device has instructions for it; without them "
        "a step takes twice as long.",
    )
    compile: bool = Field(
        False,
        title="Compile the model",
        description="Minutes at the start, then faster steps; needs a C++ compiler.",
    )


class QATSettings(CommonSettings):
    """What quantization-aware training does; defaults as in QMedSAM, Table 3."""

    slices_per_step: tuple[int, int, int] = Field(
        (2, 4, 2),
        title="Slices per step",
        description="Of each process, in the three stages.",
    )
    warmup_epochs: int = Field(5, ge=0, title="Warm-up epochs (N_w)")
    annealing_epochs: int = Field(10, gt=0, title="Cosine annealing epochs (N_a)")
    learning_rate: float = Field(0.01, gt=0, title="Initial learning rate")
    scale_rate: float = Field(
        1.0,
        ge=0,
        title="Learning rate of the scales",
        description="As a multiple of that of the weights.",
    )
    momentum: float = Field(0.9, ge=0, lt=1, title="Momentum")
    distillation: float = Field(
        1.0, ge=0, title="Weight of the distillation loss in stage 1"
    )
    calibration_steps: int = Field(
        16,
        gt=0,
        title="Calibration steps",
        description="Steps whose activations the scales start from.",
    )
    decoder_range: float = Field(
        1.0,
        gt=0,
        le=1,
        title="Ranges of the decoder",
        description="What the ranges of its activations, but for attention weights, "
        "are multiplied by after training. Below 1, levels are finer and the largest "
        "values are cut off: runtimes agree better.",
    )
    weight_bits: Literal[4, 7, 8] = Field(
        8,
        title="Bits of the weights",
        description="7 runs in int8 on processors without VNNI too; 8 overflows there.",
    )
    activation_bits: Literal[4, 8] = Field(8, title="Bits of the activations")
    attention_by_row: bool = Field(
        False,
        title="Attention of the decoder by row",
        description="Round its weights as shares of the largest of their row. "
        "Default: as they are, as in the paper.",
    )
    per_channel: bool = Field(
        False,
        title="Weight scales per channel",
        description="Default: one per tensor, as in the paper.",
    )
    keep_epochs: bool = Field(True, title="Keep the weights of every epoch")
    freeze_batch_norm: bool = Field(True, title="Freeze batch norm")

    @property
    def epochs(self) -> int:
        """Epochs of a stage."""
        return self.warmup_epochs + self.annealing_epochs

    def fake_quant(self, *, decoder: bool) -> FakeQuantSettings:
        """Return how the model is quantized, with or without its decoder."""
        return FakeQuantSettings(
            weight_bit_width=self.weight_bits,
            activation_bit_width=self.activation_bits,
            per_channel=self.per_channel,
            decoder=decoder,
            attention_by_row=self.attention_by_row,
        )


Settings = TypeVar("Settings", bound=CommonSettings)


def load_settings(
    kind: type[Settings],
    path: Path | None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
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
        return kind(**content)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidSettings(f"Training setting '{name}': {first['msg']}.") from error
