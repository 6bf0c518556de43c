"""Train a float model of the family on phantoms, resumable at any step."""

import copy
import csv
import logging
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler

from napari_qmedsam.errors import BadCheckpoint, InvalidSettings
from napari_qmedsam.models import build_model, config_of
from napari_qmedsam.models.lateral import unpack
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.training.losses import dice_loss, focal_loss, prototype_loss
from napari_qmedsam.training.samples import Batch, PhantomSamples, collate
from napari_qmedsam.training.settings import TrainingSettings

log = logging.getLogger(__name__)

OF_THE_SAMPLES = ("seed", "slices_per_step", "prompts")
"""Settings that say which samples a step sees; a run keeps them."""


class From(Sampler[int]):
    """Indices from `start` to `stop`: where a resumed run goes on."""

    def __init__(self, start: int, stop: int) -> None:
        self.indices = range(start, stop)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class FloatTraining:
    """A training run that lives in a folder.

    The folder holds ``last.pt`` (everything needed to go on), ``log.csv`` and,
    through :meth:`averaged`, the model worth keeping.

    Parameters
    ----------
    name : str
        Architecture.
    folder : Path
        Made if missing; a run found there is resumed.
    settings : TrainingSettings

    Raises
    ------
    BadCheckpoint
        If the run found there is damaged, or of another architecture.
    InvalidSettings
        If it was made of other samples: its seed, slices per step or boxes
        per slice differ.
    """

    def __init__(self, name: str, folder: Path, settings: TrainingSettings) -> None:
        self.config, self.folder, self.settings = config_of(name), folder, settings
        if settings.threads:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = build_model(self.config)
        initialise(model)
        self.model = model.to(self.device)
        self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, settings.weight_decay),
            lr=settings.learning_rate,
        )
        self._forward = torch.compile(self._run) if settings.compile else self._run
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(
        self,
        progress: Callable[[int, dict[str, float]], None] | None = None,
        should_cancel: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train until the last step, saving as it goes.

        Parameters
        ----------
        progress : callable, optional
            Called every step with the step and the losses.
        should_cancel : callable
            Asked every step; when true the run is saved and left.
        """
        self.model.train()
        recent: deque[dict[str, float]] = deque(maxlen=self.settings.checkpoint_every)
        start = time.monotonic()
        with _interrupt_held() as interrupted:
            with _opencv_without_threads():
                batches = iter(self._batches())  # starts the data processes
            for batch in batches:
                recent.append(self._step(batch))
                self.step += 1
                if progress is not None:
                    progress(self.step, recent[-1])
                stop = should_cancel() or interrupted()
                stop = stop or self.step >= self.settings.steps
                if stop or self.step % self.settings.checkpoint_every == 0:
                    self._save(recent, start)
                if stop:
                    break
        if interrupted():
            raise KeyboardInterrupt

    def averaged(self) -> MedSAM:
        """Return a copy of the running average, in eval mode, on the CPU."""
        return copy.deepcopy(self.average).cpu().eval()

    def _batches(self) -> DataLoader:
        s = self.settings
        samples = PhantomSamples(
            s.seed,
            self.config.input_size,
            s.steps * s.slices_per_step,
            s.prompts,
            s.jitter,
            int(s.jitter_from * s.steps) * s.slices_per_step,
        )
        order = From(self.step * s.slices_per_step, len(samples))
        return DataLoader(
            samples,
            batch_size=s.slices_per_step,
            sampler=order,
            collate_fn=collate,
            num_workers=s.workers,
            prefetch_factor=8 if s.workers else None,
            worker_init_fn=_one_thread,
        )

    def _step(self, batch: Batch) -> dict[str, float]:
        s = self.settings
        rate = learning_rate(self.step, s)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images, boxes = batch.images.to(self.device), batch.boxes.to(self.device)
        masks = batch.masks.to(self.device)
        images = images.expand(-1, 3, -1, -1).contiguous(
            memory_format=torch.channels_last
        )
        embedding, logits = self._forward(images, boxes)
        logits, target = logits[:, 0].float(), masks.flatten(0, 1)
        scale = logits.shape[-1] / self.config.input_size
        width = (boxes[:, 2] - boxes[:, 0] + 1) * scale
        height = (boxes[:, 3] - boxes[:, 1] + 1) * scale
        dice = dice_loss(logits, target).mean()
        focal = focal_loss(logits, target, width * height).mean()
        loss = dice + focal
        report = {"dice": dice.item(), "focal": focal.item(), "rate": rate}
        if s.auxiliary:
            dense = self._auxiliary(embedding, boxes, masks)
            report["dense"] = dense.item()
            loss = loss + s.auxiliary * dense
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
        self.optimizer.step()
        self._update_average()
        return report

    def _run(self, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        bfloat16 = self.settings.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            embedding = self.model.image_encoder(images)
            return embedding, self.model.decode(embedding, boxes)[0]

    def _auxiliary(self, embedding: Tensor, boxes: Tensor, masks: Tensor) -> Tensor:
        """Dense loss on the finest features that are no finer than 64 px."""
        encoder = self.config.encoder
        parts = unpack(embedding, self.config.prompt_dim, encoder.lateral_channels)
        features = parts[min(1, len(parts) - 1)]
        size = features.shape[-1]
        small = functional.adaptive_avg_pool2d(masks, size)
        drawn = self.model.prompt_encoder.draw_boxes(boxes)
        inside = functional.adaptive_avg_pool2d((drawn + 1) / 2, size)
        return prototype_loss(features, small, inside.view_as(small))

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.settings.averaging, (1 + self.step) / (10 + self.step))
        pairs = zip(
            self.average.state_dict().values(),
            self.model.state_dict().values(),
            strict=True,
        )
        for mean, value in pairs:
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def _save(self, recent: Collection[dict[str, float]], start: float) -> None:
        losses = {k: fmean(each[k] for each in recent) for k in next(iter(recent))}
        state = {
            "architecture": self.config.name,
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "settings": self.settings.model_dump(),
        }
        part = self.folder / "last.pt.part"
        torch.save(state, part)
        part.replace(self.folder / "last.pt")
        new = not (self.folder / "log.csv").exists()
        with open(self.folder / "log.csv", "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds", *losses])
            seconds = round(time.monotonic() - start, 1)
            writer.writerow(
                [self.step, seconds, *(f"{v:.4g}" for v in losses.values())]
            )

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
            made_with = state["settings"]
        except Exception as error:
            raise BadCheckpoint(
                f"Cannot go on with the run in '{path}': it is damaged or not of the "
                f"model '{self.config.name}'. Choose another folder, or delete it."
            ) from error
        for name in OF_THE_SAMPLES:
            before, now = made_with[name], getattr(self.settings, name)
            if before != now:
                raise InvalidSettings(
                    f"The run in '{self.folder}' was started with {name} {before}, "
                    f"but {now} is asked for. Give the same, or another folder."
                )
        log.info("Resumed at step %d of %s", self.step, path)


@contextmanager
def _interrupt_held() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait until the step in hand is whole.

    Yields a function that tells whether it was pressed. Pressed again, it
    stops at once, and what came after the last checkpoint is lost. Outside the
    main thread nothing is changed: signals do not arrive there.
    """
    pressed = False

    def note(number: int, frame: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _opencv_without_threads() -> Iterator[None]:
    """Let processes be forked: a child waits forever for threads it did not get."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, a plateau, then a cosine down to 1 % of the peak."""
    peak = settings.learning_rate
    if step < settings.warmup:
        return peak * (step + 1) / settings.warmup
    begin = settings.decay_from * settings.steps
    if step < begin:
        return peak
    done = (step - begin) / max(1.0, settings.steps - begin)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Decay matrices and kernels only: no biases, norms, embeddings, tables."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
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


def _one_thread(worker: int) -> None:
    """Keep data processes off the trainer's cores, and from dying of Ctrl-C.

    A terminal sends Ctrl-C to them as well, and the trainer still needs them
    to finish its step.
    """
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
