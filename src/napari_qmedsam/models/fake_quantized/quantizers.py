"""Quantizers of activations and weights, equal to Brevitas's bit for bit.

Activations: ``s = max(|value|, 1e-10) / 2**(b - 1)`` and codes from
``-2**(b - 1)`` to ``2**(b - 1) - 1``; `value` is learned. Weights: ``s = max|W|
/ (2**(b - 1) - 1)`` and codes within that bound on both sides; the gradient
flows through the maximum. Codes are rounded half to even, and rounding passes
gradients straight through.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from napari_qmedsam.models.fake_quantized.rounding import (
    SMALLEST,
    RoundThrough,
    fake_quantized,
    magnitude,
)

MOMENTUM = 0.1
"""Weight of a batch in the running statistic."""


class LearnedRange(nn.Module):
    """The magnitude that the largest code stands for, one for a tensor.

    Collected over the first `steps` training forwards, learned afterwards.
    A state dict holds it once there is something to hold.

    Parameters
    ----------
    steps : int
        Training forwards to collect over.

    Attributes
    ----------
    is_known : bool
        It was collected or loaded, and is learned now.
    collecting : bool
        Collect in any mode, until :meth:`settle`.
    """

    running: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(()))
        self.register_buffer("running", torch.ones(()), persistent=False)
        self.steps, self.seen = steps, 0
        self.is_known = False
        self.collecting = False

    @property
    def has_statistics(self) -> bool:
        """True once anything was seen."""
        return self.seen > 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the magnitude to quantize `x` by, a scalar."""
        if self.is_known:
            return self.value
        if self.collecting or (self.training and self.seen < self.steps):
            # The sum keeps the parameter in the graph, as DDP wants it.
            now = magnitude(x).float() + 0 * self.value
            self._observe(now.detach())
            return now
        if self.training:
            self.settle()
            return self.value
        return self.running if self.has_statistics else magnitude(x).float()

    def settle(self) -> None:
        """End the collection: learn from the running statistic on."""
        if self.has_statistics and not self.is_known:
            self.set(float(self.running))

    def set(self, value: float) -> None:
        """Take a magnitude from elsewhere, and learn from there on."""
        with torch.no_grad():
            self.value.fill_(value)
        self._take()

    def _take(self) -> None:
        self.is_known, self.collecting = True, False

    def _observe(self, now: Tensor) -> None:
        now = now.clamp_min(SMALLEST)
        if self.has_statistics:
            self.running.mul_(1 - MOMENTUM).add_(MOMENTUM * now)
        else:
            self.running.copy_(now)
        self.seen += 1

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        if self.is_known:
            super()._save_to_state_dict(destination, prefix, keep_vars)
        elif self.has_statistics:
            destination[prefix + "value"] = self.running.clone()

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        if prefix + "value" in state_dict:
            self._take()


class _Holder(nn.Module):
    """A level of Brevitas's tensor names."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


class ActivationQuantizer(nn.Module):
    """Fake-quantizes a tensor with one learned symmetric scale.

    Parameters
    ----------
    bit_width : int
    steps : int
        Training forwards over which the scale is collected.
    """

    def __init__(self, bit_width: int, steps: int) -> None:
        super().__init__()
        self.bit_width, self.levels = bit_width, 2 ** (bit_width - 1)
        self.fused_activation_quant_proxy = _Holder(
            tensor_quant=_Holder(scaling_impl=LearnedRange(steps))
        )

    @property
    def learned(self) -> LearnedRange:
        """The learned magnitude."""
        found = self.fused_activation_quant_proxy.tensor_quant.scaling_impl  # type: ignore[union-attr]
        assert isinstance(found, LearnedRange)
        return found

    def scale(self) -> float:
        """Return the step between two codes."""
        known = self.learned.value if self.learned.is_known else self.learned.running
        return max(abs(float(known.detach())), SMALLEST) / self.levels

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` on the grid of the codes; shape and type stay."""
        return fake_quantized(x, self.learned(x), self.levels)


def quantizers(model: nn.Module) -> Iterator[tuple[str, ActivationQuantizer]]:
    """Return name and quantizer of every quantized activation, in order."""
    for name, module in model.named_modules():
        if isinstance(module, ActivationQuantizer):
            yield name, module


class QuantIdentity(nn.Module):
    """A quantizer that stands by itself, under Brevitas's name for it."""

    def __init__(self, bit_width: int, steps: int) -> None:
        super().__init__()
        self.act_quant = ActivationQuantizer(bit_width, steps)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` on the grid of the codes."""
        return self.act_quant(x)


@dataclass(frozen=True)
class WeightQuantizer:
    """Fake-quantizes a weight by its own largest magnitude.

    Parameters
    ----------
    bit_width : int
    per_channel : bool
    channel_axis : int
        Axis of the output channels.
    """

    bit_width: int
    per_channel: bool
    channel_axis: int = 0

    @property
    def largest_code(self) -> int:
        """Codes lie within this bound on both sides."""
        return 2 ** (self.bit_width - 1) - 1

    def scale(self, weight: Tensor) -> Tensor:
        """Return the step between two codes: a scalar, or one for each channel.

        The shape broadcasts against the weight.
        """
        size = weight.abs()
        if not self.per_channel:
            largest = size.max()
        else:
            rows = size.movedim(self.channel_axis, 0).flatten(1)
            shape = [1] * weight.ndim
            shape[self.channel_axis] = -1
            largest = rows.max(dim=1)[0].reshape(shape)
        return largest.clamp_min(SMALLEST) / self.largest_code

    def __call__(self, weight: Tensor) -> Tensor:
        """Return the weight on the grid of its codes."""
        scale = self.scale(weight)
        # No code is cut off: the largest magnitude has the largest code.
        return RoundThrough.apply(weight / scale) * scale
