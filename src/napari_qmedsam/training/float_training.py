"""Train a float model of the family, from nothing or from weights."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_qmedsam.datasets.dataset import (
    MIXTURE_SOURCE,
    DataSet,
    open_data,
)
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.models import build_model, config_of
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.training.folder import TrainingFolder
from napari_qmedsam.training.loop import RunHistory, Stage, StepProgress, TrainingLoop
from napari_qmedsam.training.objective import MaskObjective
from napari_qmedsam.training.plot import write_loss_plot
from napari_qmedsam.training.processes import Processes, join_processes
from napari_qmedsam.training.schedules import float_rate
from napari_qmedsam.training.settings import TrainedPart, TrainingSettings
from napari_qmedsam.training.stream import Feed, SampleStream
from napari_qmedsam.training.validation import Validation, set_aside

STAGE = "float"
"""Name of the only stage."""


class FloatTraining:
    """A training run that lives in a folder.

    AdamW, a running average of the weights, and a dense auxiliary loss. The
    folder holds ``last.pt`` (everything needed to go on), ``log.csv``, the
    best epoch's weights, and at the end ``loss.png``.

    Parameters
    ----------
    name : str
        Architecture.
    folder : Path
        Made if missing; a run found there is resumed.
    settings : TrainingSettings
    data : DataSet, optional
        Default: the mixture of phantoms.
    validation : DataSet, optional
        Default: a tenth of the files of `data`, which are then not trained on.
    start : MedSAM, optional
        Weights to start from; default: random ones.
    teacher : MedSAM, optional
        Of mask distillation; default: the weights to start from.
    pseudo_labelled : DataSet, optional
        What a share of the slices comes from, beside `data`.
    processes : Processes, optional
    blend : MedSAM, optional
        Weights that what is written holds a share of; default: those to start from.

    Raises
    ------
    BadCheckpoint
        If the run found there is damaged, or of another architecture.
    InvalidSettings
        If it was made of other samples: its seed, slices per step or boxes
        per slice differ. If `blend` is of another architecture.
    UnusableData
        If the data do not suffice.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        settings: TrainingSettings,
        data: DataSet | None = None,
        validation: DataSet | None = None,
        start: MedSAM | None = None,
        teacher: MedSAM | None = None,
        pseudo_labelled: DataSet | None = None,
        processes: Processes | None = None,
        blend: MedSAM | None = None,
    ) -> None:
        self.config = config_of(name) if start is None else start.config
        self.settings = settings
        self.processes = processes or join_processes()
        if settings.threads:
            torch.set_num_threads(settings.threads)
        if data is None:
            data = open_data(MIXTURE_SOURCE, settings.seed, self.config.input_size)
        data, validation = set_aside(data, validation, settings)
        self.data, self.folder = data, TrainingFolder(folder)
        self.pseudo_labelled = pseudo_labelled
        self.history = RunHistory()
        state = self.folder.read(self.config.name, settings)
        self.teacher: MedSAM | None = None
        # A copy of the start: that is trained.
        master = teacher or copy.deepcopy(start)
        if settings.mask_distillation and master is not None:
            self.teacher = master.eval().requires_grad_(False)
            self.teacher.to(self.processes.device)
        self.start_weights: dict[str, Tensor] = {}
        blended = blend or start
        if settings.start_share and blended is not None:
            if blended.config.name != self.config.name:
                raise InvalidSettings(
                    f"Weights of '{blended.config.name}' cannot be blended with those "
                    f"of '{name}'. Choose a model of the same architecture."
                )
            self.start_weights = copy.deepcopy(blended.state_dict())
        model = start or self._new_model()
        if settings.part is TrainedPart.DECODER:
            model.image_encoder.requires_grad_(False)
        self.loop = TrainingLoop(
            self._stage(model.to(self.processes.device), data, pseudo_labelled),
            self.folder,
            settings,
            Validation.of(validation, settings),
            self.history,
            self.processes,
        )
        if state:
            try:
                self.loop.restore(state)
                self.history.rows += state.get("rows", [])
                self.history.best |= state.get("best", {})
            except Exception as error:
                raise self.folder.refusal(self.config.name) from error

    @property
    def step(self) -> int:
        """Steps done."""
        return self.loop.step

    def run(self, progress: StepProgress | None = None) -> None:
        """Train until the last step, saving as it goes, and draw the losses.

        Parameters
        ----------
        progress : callable, optional
            Called every step with the step, the steps in all, and the losses.
        """
        done = self.loop.run(progress)
        if done and self.history.rows and self.processes.is_first:
            write_loss_plot(self.history.rows, self.folder.path / "loss.png")

    def best(self) -> MedSAM:
        """Return the best epoch's running average, in eval mode, on the CPU.

        Before the first epoch's end, and of runs that kept no epochs, it is
        the average as it stands. With `start_share` it is a mean of these weights and
        of those that the run started from, or of `blend` (Wortsman et al., Robust
        fine-tuning of zero-shot models, CVPR 2022).
        """
        assert self.loop.average is not None
        model = build_model(self.config)
        if STAGE in self.history.best:
            model.load_state_dict(self.loop.best_weights())
        else:
            model.load_state_dict(self.loop.average.state_dict())
        if self.start_weights:
            _blend(model, self.start_weights, self.settings.start_share)
        return model.eval()

    def _new_model(self) -> MedSAM:
        torch.manual_seed(self.settings.seed)
        model = build_model(self.config)
        initialise(model)
        return model

    def _stage(
        self, model: MedSAM, data: DataSet, pseudo_labelled: DataSet | None
    ) -> Stage:
        s = self.settings
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batch = s.slices_per_step * self.processes.count
        jitter_from = int(s.jitter_from * s.steps) * batch
        stream = SampleStream(
            data,
            Feed(self.config, batch),
            s,
            jitter_from=jitter_from,
            pseudo_labelled=pseudo_labelled,
        )
        bfloat16 = self.processes.has_bfloat16 if s.bfloat16 is None else s.bfloat16
        return Stage(
            STAGE,
            MaskObjective(
                model,
                auxiliary=s.auxiliary if s.part is TrainedPart.ALL else 0.0,
                mask_distillation=s.mask_distillation,
                quality=s.quality,
                teacher=self.teacher,
                bfloat16=bfloat16,
                compiled=s.compile,
            ),
            torch.optim.AdamW(
                parameter_groups(model, s.weight_decay),
                lr=s.learning_rate,
                fused=self.processes.device.type == "cuda",
            ),
            lambda step: float_rate(step, s),
            stream,
            s.steps,
            s.averaging,
        )


@torch.no_grad()
def _blend(model: MedSAM, start: dict[str, Tensor], share: float) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.lerp_(start[name].to(value), share)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Decay matrices and kernels only: no biases, norms, embeddings, tables."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        table = "token" in name or "embed" in name or "attention_biases" in name
        (free if parameter.ndim < 2 or table else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def initialise(model: MedSAM) -> None:
    """Start values for training from scratch: small normal, residuals quiet."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(
                module.weight, std=0.02 if module.in_features > 256 else 0.04
            )
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
