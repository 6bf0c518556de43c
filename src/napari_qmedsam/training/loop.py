"""The training loop: one stage of a run, resumable after a kill at any step."""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import compress
from statistics import fmean
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from napari_qmedsam.cancelling import is_cancelled
from napari_qmedsam.memory import freed_memory_kept
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.training.folder import Row, TrainingFolder
from napari_qmedsam.training.interrupts import (
    interrupt_held,
    one_thread,
    opencv_without_threads,
)
from napari_qmedsam.training.objective import MaskObjective
from napari_qmedsam.training.processes import Processes
from napari_qmedsam.training.samples import Batch, collate
from napari_qmedsam.training.settings import CommonSettings
from napari_qmedsam.training.stream import Positions, SampleStream
from napari_qmedsam.training.validation import Validation, overall

log = logging.getLogger(__name__)

StepProgress = Callable[[int, int, dict[str, float]], None]
"""Called with the step, the steps in all, and the losses; on a GPU now and then."""

TOLD_ON_GPU = 20
"""Steps between two calls of it there."""

Losses = dict[str, torch.Tensor | float]
"""Of a step, by name; tensors, still on their way, where it was computed."""


@dataclass(frozen=True)
class Stage:
    """What is trained, on what, and how fast.

    Parameters
    ----------
    name : str
    objective : MaskObjective
        Holds the model.
    optimizer : torch.optim.Optimizer
        Each group may have a ``factor`` on the learning rate.
    rate : callable
        From step to learning rate.
    stream : SampleStream
    steps : int
        In all.
    averaging : float or None
        Decay of a running average of the weights, which is then what counts.
    """

    name: str
    objective: MaskObjective
    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]
    stream: SampleStream
    steps: int
    averaging: float | None = None

    @property
    def model(self) -> MedSAM:
        """The model in training."""
        return self.objective.model


@dataclass
class RunHistory:
    """What a run has to show: its log, and the best epoch of each stage."""

    rows: list[Row] = field(default_factory=list)
    best: dict[str, tuple[int, float]] = field(default_factory=dict)


class TrainingLoop:
    """Runs a stage, with checkpoints, validation and choice of the best epoch.

    Parameters
    ----------
    stage : Stage
    folder : TrainingFolder
    settings : CommonSettings
    validation : Validation or None
        None: every epoch counts as better than the one before.
    history : RunHistory
        Of the whole run; added to.
    processes : Processes
    """

    def __init__(
        self,
        stage: Stage,
        folder: TrainingFolder,
        settings: CommonSettings,
        validation: Validation | None,
        history: RunHistory,
        processes: Processes,
    ) -> None:
        self.stage, self.folder, self.settings = stage, folder, settings
        self.validation, self.history = validation, history
        self.processes = processes
        self.step = 0
        self.average: MedSAM | None = None
        if stage.averaging is not None:
            self.average = copy.deepcopy(stage.model).requires_grad_(False)
        self._losses: list[Losses] = []
        self._module = processes.parallel(stage.objective)

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return self.step // self.stage.stream.steps_per_epoch

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint of this stage."""
        self.stage.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.stage.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        log.info("Resumed %s at step %d", self.stage.name, self.step)

    @freed_memory_kept()
    def run(self, progress: StepProgress | None = None) -> bool:
        """Train until the last step, saving on the way, or until it is cancelled.

        Returns
        -------
        bool
            False if it was cancelled; it can be gone on with.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C, once the step is whole and saved.
        """
        stage = self.stage
        self._set_mode()
        start = time.monotonic()
        stop = False
        # To read a loss is to wait for the GPU, which then waits for the next batch.
        told_every = TOLD_ON_GPU if self.processes.device.type == "cuda" else 1
        with interrupt_held() as interrupted:
            with opencv_without_threads():
                batches = iter(self._batches())  # starts the data processes
            for batch in batches:
                self._losses.append(self._step(batch))
                self.step += 1
                last = self.step >= stage.steps
                if progress is not None and (last or self.step % told_every == 0):
                    progress(self.step, stage.steps, _as_floats(self._losses[-1]))
                stop = self.processes.any(is_cancelled() or interrupted())
                if last or self.step % stage.stream.steps_per_epoch == 0:
                    self._end_epoch(start)
                elif stop or self.step % self.settings.checkpoint_every == 0:
                    self._save({}, start)
                if stop or last:
                    break
        if interrupted():
            raise KeyboardInterrupt
        return not stop or self.step >= stage.steps

    def best_weights(self) -> dict[str, Any]:
        """Return the weights of the best epoch so far."""
        epoch, _ = self.history.best[self.stage.name]
        return self.folder.read_epoch(self.stage.name, epoch)

    def _batches(self) -> DataLoader:
        settings, stream = self.settings, self.stage.stream
        processes = self.processes
        positions = Positions(
            self.step,
            self.stage.steps,
            stream.feed.batch,
            processes.rank,
            processes.count,
        )
        return DataLoader(
            stream,
            batch_size=positions.share,
            sampler=positions,
            collate_fn=collate,
            num_workers=settings.workers,
            prefetch_factor=4 if settings.workers else None,
            worker_init_fn=one_thread,
        )

    def _set_mode(self) -> None:
        self._module.train()
        if self.settings.freeze_batch_norm:
            for module in self._module.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _step(self, batch: Batch) -> Losses:
        stage = self.stage
        rate = stage.rate(self.step)
        for group in stage.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        losses = self._module(batch.to(self.processes.device))
        loss = losses.pop("loss")
        stage.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(stage.model.parameters(), self.settings.clip)
        stage.optimizer.step()
        if self.average is not None:
            self._update_average(self.average)
        return {**{name: each.detach() for name, each in losses.items()}, "rate": rate}

    def _mean_losses(self) -> dict[str, float]:
        """Return the mean of each loss since the last time, over all processes."""
        names = list(self._losses[0])
        means = torch.tensor(
            [fmean(float(each[name]) for each in self._losses) for name in names],
            dtype=torch.float64,
        )
        self._losses.clear()
        means = self.processes.sum(means) / self.processes.count
        return dict(zip(names, means.tolist(), strict=True))

    @torch.no_grad()
    def _update_average(self, average: MedSAM) -> None:
        assert self.stage.averaging is not None  # or there would be no average
        decay = min(self.stage.averaging, (1 + self.step) / (10 + self.step))
        means = list(average.state_dict().values())
        values = list(self.stage.model.state_dict().values())
        blended = [mean.is_floating_point() for mean in means]
        get_ema_multi_avg_fn(decay)(
            list(compress(means, blended)), list(compress(values, blended)), None
        )
        for mean, value, is_blended in zip(means, values, blended, strict=True):
            if not is_blended:
                mean.copy_(value)

    def _end_epoch(self, start: float) -> None:
        """Score the epoch, keep its weights, and save."""
        name = self.stage.name
        epoch = -(-self.step // self.stage.stream.steps_per_epoch)
        model = self.average or self.stage.model
        scores: dict[str, float] = {}
        if self.validation is not None:
            scores = self.validation.score(model, self.processes)
            scores = {"dsc": overall(scores), **{f"dsc {k}": scores[k] for k in scores}}
            self._set_mode()
        score = scores.get("dsc", float(epoch))
        if name not in self.history.best or score > self.history.best[name][1]:
            self.history.best[name] = (epoch, score)
        if self.processes.is_first:
            self.folder.write_epoch(name, epoch, model.state_dict())
        self._save(scores, start)
        if self.processes.is_first and not self.settings.keep_epochs:
            self.folder.keep_only(name, self.history.best[name][0])
        self.processes.wait()

    def _save(self, scores: dict[str, float], start: float) -> None:
        means = self._mean_losses()
        row: Row = {
            "stage": self.stage.name,
            "epoch": self.epoch,
            "step": self.step,
            "seconds": round(time.monotonic() - start, 1),
            **means,
            **scores,
        }
        self.history.rows.append(row)
        if not self.processes.is_first:
            return
        state = {
            "architecture": self.stage.model.config.name,
            "stage": self.stage.name,
            "step": self.step,
            "model": self.stage.model.state_dict(),
            "optimizer": self.stage.optimizer.state_dict(),
            "settings": self.settings.model_dump(mode="json"),
            "rows": self.history.rows,
            "best": self.history.best,
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        self.folder.write(state)


def _as_floats(losses: Losses) -> dict[str, float]:
    return {name: float(value) for name, value in losses.items()}
