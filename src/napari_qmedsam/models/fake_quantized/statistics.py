"""Scales before training: what activations look like on a few slices."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from napari_qmedsam.errors import CalibrationMismatch
from napari_qmedsam.models.fake_quantized.attention import QuantizedProducts
from napari_qmedsam.models.fake_quantized.quantizers import (
    ActivationQuantizer,
    quantizers,
)
from napari_qmedsam.models.fake_quantized.rounding import fake_quantized
from napari_qmedsam.models.fake_quantized.smoothing import smooth_convolutions
from napari_qmedsam.models.medsam import MedSAM

ImageAndBoxes = tuple[Tensor, Tensor]
"""Images (N, 3, S, S) and boxes (B, 4), N dividing B."""

ATTENTION = ".act_attn.act_quant"
"""How the names of attention weights' quantizers end."""

SHRINKS = tuple(2.0**-i for i in range(9))
"""Shares of the largest attention weight that are tried as range."""

RANGES = tuple(2 ** (i / 2) for i in range(-8, 3))
"""Multiples of the collected range that are tried for everything else."""

SAMPLE = 1 << 18
"""Elements of a tensor that its range is fitted on, at most about twice as many."""


def collect_statistics(
    model: MedSAM,
    batches: Iterable[ImageAndBoxes],
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Set every activation scale that is not known yet, by running the model.

    Ranges start as the running 99.999 percentile of the magnitudes. Those of
    attention weights are then shrunk to what keeps the attention's output best:
    a token that looks at a thousand pixels gives each a thousandth, which the
    range of its largest weight would round to nothing. All others are set to
    the multiple with the least squared error: in small tensors, a box's tokens
    for one, a mean over slices cuts off what half of them hold. All of them are
    learned from then on. Float weights and normalisation statistics stay, but for the
    factors that smoothed convolutions get first.

    Parameters
    ----------
    model : MedSAM
        Fake-quantized; changed in place, its mode restored.
    batches : iterable of ImageAndBoxes
        On the model's device. A few dozen slices are enough.
    progress : callable
        Called with the number of batches done; the count starts over twice or thrice.

    Raises
    ------
    CalibrationMismatch
        If the model is not fake-quantized, or there is no batch.
    """
    batches = list(batches)
    unknown = {n: q.learned for n, q in quantizers(model) if not q.learned.is_known}
    if not batches:
        raise CalibrationMismatch("There is nothing to collect statistics on.")
    if model.fake_quant is None:
        raise CalibrationMismatch("The model is not fake-quantized: no scale to set.")
    was_training = model.training
    model.eval()
    try:
        smooth_convolutions(model, unknown, lambda: _run(model, batches, progress))
        for learned in unknown.values():
            learned.collecting = True
        _run(model, batches, progress)
        for learned in unknown.values():
            learned.settle()
        _shrink_attention(model, set(unknown), batches, progress)
        _fit_others(model, set(unknown), batches, progress)
    finally:
        for learned in unknown.values():
            learned.collecting = False
        model.train(was_training)


@torch.no_grad()
def _run(
    model: MedSAM, batches: Sequence[ImageAndBoxes], progress: Callable[[int], None]
) -> None:
    for done, (images, boxes) in enumerate(batches):
        embedding = model.image_encoder(images)
        model.decode(embedding, boxes)
        model.decode(embedding, boxes, multimask=True)
        progress(done + 1)


def _shrink_attention(
    model: MedSAM,
    names: set[str],
    batches: Sequence[ImageAndBoxes],
    progress: Callable[[int], None],
) -> None:
    modules = [
        module
        for name, module in model.named_modules()
        if isinstance(module, QuantizedProducts) and f"{name}{ATTENTION}" in names
    ]
    if not modules:
        return
    errors = [torch.zeros(len(SHRINKS), dtype=torch.float64) for _ in modules]
    with ExitStack() as stack:
        for module, sums in zip(modules, errors, strict=True):
            stack.enter_context(_measured(module, sums))
        _run(model, batches, progress)
    for module, sums in zip(modules, errors, strict=True):
        learned = module.act_attn.act_quant.learned
        learned.set(float(learned.value.detach()) * SHRINKS[int(sums.argmin())])


def _fit_others(
    model: MedSAM,
    names: set[str],
    batches: Sequence[ImageAndBoxes],
    progress: Callable[[int], None],
) -> None:
    """Give every other range the multiple with the least squared error.

    On what single masks need: the three alternatives' tokens share quantizers
    with the one that answers a box. Quantizers of theirs alone stay as they are.
    """
    chosen = {
        name: quantizer
        for name, quantizer in quantizers(model)
        if name in names and not name.endswith(ATTENTION)
    }
    sums = {name: torch.zeros(len(RANGES), dtype=torch.float64) for name in chosen}
    with ExitStack() as stack, torch.no_grad():
        for name, quantizer in chosen.items():
            handle = quantizer.register_forward_pre_hook(_errors(sums[name]))
            stack.callback(handle.remove)
        for done, (images, boxes) in enumerate(batches):
            model(images, boxes)
            progress(done + 1)
    for name, quantizer in chosen.items():
        if sums[name].any():
            learned = quantizer.learned
            best = RANGES[int(sums[name].argmin())]
            learned.set(float(learned.value.detach()) * best)


def _errors(sums: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Add up the mean squared error of a quantizer's input for each range."""

    def measure(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, ActivationQuantizer)
        x = inputs[0].reshape(-1)
        x = x[:: max(1, x.numel() // SAMPLE)]
        for i, multiple in enumerate(RANGES):
            value = module.learned.value.detach() * multiple
            error = fake_quantized(x, value, module.levels) - x
            sums[i] += error.square().mean(dtype=torch.float64).cpu()

    return measure


@contextmanager
def _measured(module: QuantizedProducts, sums: Tensor) -> Iterator[None]:
    """Add up the error of the attention's output for each range that is tried."""
    quantizer = module.act_attn.act_quant
    seen: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    def measure(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        weights, values = seen.pop(), inputs[0]
        for i, shrink in enumerate(SHRINKS):
            value = quantizer.learned.value.detach() * shrink
            rounded = fake_quantized(weights, value, quantizer.levels)
            error = (rounded - weights) @ values
            sums[i] += error.square().sum(dtype=torch.float64).cpu()

    # The weights are quantized before the values they multiply.
    handles = (
        module.act_attn.register_forward_pre_hook(keep),
        module.act_v.register_forward_pre_hook(measure),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
