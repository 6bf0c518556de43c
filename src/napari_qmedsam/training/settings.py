"""One settings object per kind of training, from code, file or command line."""

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_qmedsam.datasets.sampling import Strategy
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.training.boxes import BoxStyle

WIDTH = 76
"""Characters in a line of help, its mark left out."""


class CommonSettings(BaseModel):
    """What every kind of training has; every field has its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: int = Field(6, gt=0, description="Boxes per slice.")
    samples: int | None = Field(
        None,
        gt=0,
        description="Slices per modality and epoch; N_s of QMedSAM. Default: by the "
        "strategy; 200 of phantoms.",
    )
    strategy: Strategy = Field(
        Strategy.MINIMUM,
        description="minimum: as many slices of each modality as the smallest has. "
        "tenth: a tenth of each, but no fewer than that. all: every slice.",
    )
    flips: bool = Field(
        True, description="Flip slices from files at random; phantoms have theirs."
    )
    shells: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of phantoms on which a crescent, ring or arc is painted "
        "around one of the objects.",
    )
    fat: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of phantoms with objects that are streaked with what lies "
        "around them; of those that are no CT, the same share has dark rims between "
        "fat and water.",
    )
    outlines: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of phantoms whose objects are outlined a little inside or "
        "outside of their edge.",
    )
    pseudo_labelled_share: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="Share of slices that are unlabelled ones, where a folder of them "
        "is given: labelled by a model, and varied at random.",
    )
    boxes: BoxStyle = Field(
        BoxStyle.JITTERED,
        description="jittered: half tight, half moved by a few pixels. careless: as "
        "people draw them, loose or misplaced, and as a neighbouring slice gives them.",
    )
    jitter: int = Field(
        5, ge=0, description="Pixels by which jittered boxes are moved."
    )
    points: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of steps in which one or two clicks in or beside the "
        "object go with each box.",
    )
    validation_slices: int = Field(
        16,
        ge=0,
        description="Slices of each modality that are scored after every epoch. 0: "
        "the last epoch is kept.",
    )
    keep_epochs: bool = Field(
        False, description="Keep the weights of every epoch, not only of the best."
    )
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    freeze_batch_norm: bool = Field(
        False,
        description="Use the running statistics of batch norm and leave them as they "
        "are.",
    )
    seed: int = Field(0, ge=0, description="Of weights and samples.")
    workers: int = Field(1, ge=0, description="Processes that make samples.")
    threads: int = Field(0, ge=0, description="Of torch; 0 leaves it to torch.")
    checkpoint_every: int = Field(200, gt=0, description="Steps between checkpoints.")


class TrainedPart(str, Enum):
    """What a float run trains."""

    ALL = "all"

    DECODER = "decoder"
    """Prompt encoder and mask decoder, on embeddings that are computed once."""


class TrainingSettings(CommonSettings):
    """What a float training run does."""

    part: TrainedPart = Field(
        TrainedPart.ALL,
        description="What is trained. decoder: the image encoder stays as it is; as "
        "many slices as an epoch has are embedded once and kept in the run's folder "
        "(2 MB each).",
    )
    mask_distillation: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share by which targets are drawn to the teacher's masks where "
        "these agree with the label.",
    )
    quality: float = Field(
        0.0,
        ge=0,
        description="Weight of the loss that trains the model's guess of its own "
        "overlap with the truth.",
    )

    start_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the weights started from, or of --blend, in what is "
        "written, the rest being the trained ones: what the start knew comes back for "
        "little.",
    )
    steps: int = Field(8000, gt=0, description="Optimizer steps in all.")
    slices_per_step: int = Field(
        4, gt=0, description="Slices per step of each process."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate.")
    warmup: int = Field(
        200, ge=0, description="Steps until the learning rate is at its peak."
    )
    decay_from: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Share of the steps after which the learning rate falls along a "
        "cosine.",
    )
    weight_decay: float = Field(0.02, ge=0, description="Of AdamW.")
    averaging: float = Field(
        0.998,
        ge=0,
        lt=1,
        description="Decay of the running average of the weights that is saved as the "
        "model.",
    )
    auxiliary: float = Field(
        0.5, ge=0, description="Weight of the dense auxiliary loss."
    )
    jitter_from: float = Field(
        0.15,
        ge=0,
        le=1,
        description="Share of the steps after which boxes are jittered.",
    )
    bfloat16: bool | None = Field(
        None,
        description="Compute in bfloat16. Default: where the device has instructions "
        "for it; without them a step takes twice as long.",
    )
    compile: bool = Field(
        False,
        description="Compile the model: minutes at the start, then faster steps; needs "
        "a C++ compiler.",
    )


class QATSettings(CommonSettings):
    """What quantization-aware training does; defaults as in QMedSAM, Table 3."""

    slices_per_step: tuple[int, int, int] = Field(
        (2, 4, 2), description="Slices per step of each process, in the three stages."
    )
    warmup_epochs: int = Field(5, ge=0, description="Warm-up epochs (N_w).")
    annealing_epochs: int = Field(
        10, gt=0, description="Cosine annealing epochs (N_a)."
    )
    learning_rate: float = Field(0.01, gt=0, description="Initial learning rate.")
    scale_rate: float = Field(
        1.0,
        ge=0,
        description="Learning rate of the scales as a multiple of that of the weights.",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Of gradient descent.")
    distillation: float = Field(
        1.0, ge=0, description="Weight of the distillation loss in stage 1."
    )
    calibration_steps: int = Field(
        16, gt=0, description="Steps whose activations the scales start from."
    )
    decoder_range: float = Field(
        1.0,
        gt=0,
        le=1,
        description="What the ranges of the decoder's activations, but for attention "
        "weights, are multiplied by after training. Below 1, levels are finer and the "
        "largest values are cut off: runtimes agree better.",
    )
    weight_bits: Literal[4, 7, 8] = Field(
        8,
        description="Bits of the weights. 7 runs in int8 on processors without VNNI "
        "too; 8 overflows there.",
    )
    activation_bits: Literal[4, 8] = Field(8, description="Bits of the activations.")
    attention_by_row: bool = Field(
        False,
        description="Round attention weights of the decoder as shares of the largest "
        "of their row. Default: as they are, as in the paper.",
    )
    smooth_convolutions: bool = Field(
        False,
        description="Bring the channels that enter a convolution to one size before "
        "they are rounded. Default: they stay, as in the paper.",
    )
    per_channel: bool = Field(
        False,
        description="Give each channel of a weight a scale of its own. Default: one "
        "per tensor, as in the paper.",
    )
    keep_epochs: bool = Field(True, description="Keep the weights of every epoch.")
    freeze_batch_norm: bool = Field(
        True, description="Use the running statistics of batch norm."
    )

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
            smooth_convolutions=self.smooth_convolutions,
        )


AnySettings = TypeVar("AnySettings", bound=CommonSettings)


def load_settings(
    kind: type[AnySettings],
    path: Path | None,
    overrides: Mapping[str, Any] | None = None,
) -> AnySettings:
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


def settings_text(kind: type[CommonSettings]) -> str:
    """Return all settings of a kind as YAML: defaults, each below its help.

    :func:`load_settings` reads it.
    """
    lines = []
    for name, value in kind.model_validate({}).model_dump(mode="json").items():
        help_text = kind.model_fields[name].description or ""
        lines += [f"# {line}" for line in wrap(help_text, WIDTH)]
        lines += [f"{name}: {json.dumps(value)}", ""]
    return "\n".join(lines)
