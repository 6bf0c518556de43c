"""Quantization-aware training in three stages (QMedSAM, section 3.3)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_qmedsam.datasets.dataset import DataSet
from napari_qmedsam.models.fake_quantized.model import (
    collect_statistics,
    fake_quantize,
    quantizers,
)
from napari_qmedsam.models.fake_quantized.statistics import ATTENTION
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.training.folder import TrainingFolder
from napari_qmedsam.training.loop import RunHistory, Stage, StepProgress, TrainingLoop
from napari_qmedsam.training.objective import (
    MaskObjective,
    check_teacher,
    needs_own_images,
)
from napari_qmedsam.training.plot import write_loss_plot
from napari_qmedsam.training.processes import Processes, join_processes
from napari_qmedsam.training.samples import collate
from napari_qmedsam.training.schedules import epoch_rate
from napari_qmedsam.training.settings import QATSettings
from napari_qmedsam.training.stream import Feed, SampleStream
from napari_qmedsam.training.validation import Validation, set_aside

STAGES = ("stage-1", "stage-2", "stage-3")
"""Encoder with a frozen float decoder; decoder; everything."""

EPOCHS_APART = 10_000
"""Distance of the stages' epoch numbers, so that each sees other samples."""


class QuantizationAwareTraining:
    """A run of all three stages that lives in a folder.

    Stage 1 trains the quantized encoder below a frozen float decoder, and
    draws its embedding to the teacher's. Stage 2 trains the quantized decoder
    on the best encoder of stage 1, which is frozen then. Stage 3 trains
    everything from the best of stage 2. SGD throughout.

    Batch-norm statistics stay those of the float model unless the settings say
    otherwise: a step has few slices, and several processes then compute what
    one would.

    Parameters
    ----------
    start : MedSAM
        The float model.
    folder : Path
        Made if missing; a run found there is resumed.
    settings : QATSettings
    data : DataSet
    validation : DataSet, optional
        Default: a tenth of the files of `data`, which are then not trained on.
    teacher : MedSAM, optional
        Default: the float model.
    pseudo_labelled : DataSet, optional
        What a share of the slices comes from, beside `data`.
    processes : Processes, optional

    Raises
    ------
    BadCheckpoint
        If the run found there is damaged, or of another architecture.
    InvalidSettings
        If it was made of other samples, or the teacher's embedding has
        another shape.
    UnusableData
        If the data do not suffice.
    """

    def __init__(
        self,
        start: MedSAM,
        folder: Path,
        settings: QATSettings,
        data: DataSet,
        validation: DataSet | None = None,
        teacher: MedSAM | None = None,
        pseudo_labelled: DataSet | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.processes = processes or join_processes()
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.pseudo_labelled = pseudo_labelled
        self.start = start.eval().requires_grad_(False)
        self.teacher = (teacher or start).eval().requires_grad_(False)
        self.teacher.to(self.processes.device)
        check_teacher(self.start, self.teacher)
        data, validation = set_aside(data, validation, settings)
        self.settings, self.data = settings, data
        self.validation = Validation.of(validation, settings)
        self.folder, self.history = TrainingFolder(folder), RunHistory()
        self._streams = [self._stream(number) for number in range(len(STAGES))]
        self._state = self.folder.read(start.config.name, settings)
        if self._state:
            if self._state.get("stage") not in STAGES:
                raise self.folder.refusal(start.config.name)
            self.history.rows += self._state["rows"]
            self.history.best |= self._state["best"]

    def run(
        self, progress: Callable[[str, int, int, dict[str, float]], None] | None = None
    ) -> bool:
        """Train the stages that are left, and draw the losses.

        Parameters
        ----------
        progress : callable, optional
            Called every step with the stage, the step, the steps of the stage
            and the losses.

        Returns
        -------
        bool
            False if it was cancelled.
        """
        first = STAGES.index(self._state["stage"]) if self._state else 0
        for number in range(first, len(STAGES)):
            loop = self._loop(number)
            report: StepProgress | None = None
            if progress is not None:
                report = _of_stage(progress, STAGES[number])
            if not loop.run(report):
                return False
        if self.processes.is_first:
            write_loss_plot(self.history.rows, self.folder.path / "loss.png")
        return True

    def best(self, stage: str = STAGES[-1]) -> MedSAM:
        """Return the best epoch of a stage, in eval mode, on the CPU.

        Of the last stage, with the decoder's ranges tightened as the settings say.
        """
        epoch, _ = self.history.best[stage]
        model = self._quantized(STAGES.index(stage))
        model.load_state_dict(self.folder.read_epoch(stage, epoch))
        if stage == STAGES[-1]:
            tighten_decoder(model, self.settings.decoder_range)
        return model.cpu().eval()

    def _loop(self, number: int) -> TrainingLoop:
        """Set up a stage, from its checkpoint or from the best of the one before."""
        name, state = STAGES[number], self._state
        resumed = state and state["stage"] == name
        if resumed or number == 0:
            model = self._quantized(number)
        else:
            settings = self.settings.fake_quant(decoder=True)
            model = fake_quantize(self.best(STAGES[number - 1]), settings)
        model = model.to(self.processes.device)
        if not resumed:
            self._calibrate(number, model)
        loop = TrainingLoop(
            self._stage(number, model),
            self.folder,
            self.settings,
            self.validation,
            self.history,
            self.processes,
        )
        if resumed:
            try:
                loop.restore(state)
            except Exception as error:
                raise self.folder.refusal(self.start.config.name) from error
        return loop

    def _quantized(self, number: int) -> MedSAM:
        """Return the model of a stage with the float model's weights."""
        return fake_quantize(self.start, self.settings.fake_quant(decoder=number > 0))

    def _stage(self, number: int, model: MedSAM) -> Stage:
        settings, stream = self.settings, self._streams[number]
        learn(model, number)
        scales = [p for p in _scales(model) if p.requires_grad]
        known = {id(p) for p in scales}
        weights = [
            p for p in model.parameters() if p.requires_grad and id(p) not in known
        ]
        groups: list[dict[str, Any]] = [
            {"params": weights},
            {"params": scales, "factor": settings.scale_rate},
        ]
        optimizer = torch.optim.SGD(
            groups, lr=settings.learning_rate, momentum=settings.momentum
        )
        teacher = self.teacher if number == 0 else None
        return Stage(
            STAGES[number],
            MaskObjective(model, distillation=settings.distillation, teacher=teacher),
            optimizer,
            lambda step: epoch_rate(step // stream.steps_per_epoch, settings),
            stream,
            settings.epochs * stream.steps_per_epoch,
        )

    def _stream(self, number: int) -> SampleStream:
        batch = self.settings.slices_per_step[number] * self.processes.count
        config = None
        if number == 0 and needs_own_images(self.start, self.teacher):
            config = self.teacher.config
        feed = Feed(self.start.config, batch, config)
        return SampleStream(
            self.data,
            feed,
            self.settings,
            EPOCHS_APART * number,
            pseudo_labelled=self.pseudo_labelled,
        )

    def _calibrate(self, number: int, model: MedSAM) -> None:
        """Set the scales that are not known yet."""
        if not all(q.learned.is_known for _, q in quantizers(model)):
            collect_statistics(model, self._calibration(number))

    def _calibration(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches that every process sees alike, from an epoch of their own."""
        feed = Feed(self.start.config, self._streams[number].feed.batch)
        first = EPOCHS_APART * (len(STAGES) + number)
        stream = SampleStream(self.data, feed, self.settings, first)
        for step in range(self.settings.calibration_steps):
            positions = range(step * feed.batch, (step + 1) * feed.batch)
            batch = collate([stream[p] for p in positions]).to(self.processes.device)
            yield batch.images, batch.boxes


def tighten_decoder(model: MedSAM, share: float) -> None:
    """Multiply the ranges of the decoder's activations, but of attention weights."""
    for name, quantizer in quantizers(model):
        if name.startswith("mask_decoder") and not name.endswith(ATTENTION):
            quantizer.learned.set(float(quantizer.learned.value.detach()) * share)


def learn(model: MedSAM, number: int) -> None:
    """Let the parts learn that a stage trains (0 to 2), and freeze the others."""
    model.requires_grad_(number == 2)
    if number < 2:
        part: nn.Module = model.image_encoder if number == 0 else model.mask_decoder
        part.requires_grad_(True)


def _scales(model: MedSAM) -> Iterator[nn.Parameter]:
    for _, quantizer in quantizers(model):
        yield quantizer.learned.value


def _of_stage(
    progress: Callable[[str, int, int, dict[str, float]], None], name: str
) -> StepProgress:
    return lambda step, steps, losses: progress(name, step, steps, losses)
