"""Which layers of a model are quantized, and what each one multiplies.

Every linear layer and convolution of image encoder and mask decoder. The
prompt encoder, normalisations, biases and tables stay float (QMedSAM, section
2.2): they hold under a hundredth of the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_qmedsam.checkpoints.packed.model_file import from_rows, to_rows
from napari_qmedsam.quantization.gram import GramAccumulator

PARTS = ("image_encoder", "mask_decoder")
"""Parts of a model whose layers are quantized."""

KINDS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
"""Layers that multiply an input with a weight."""


MOST_ROWS = 1024
"""Rows of inputs that one slice gives a layer, at most, where they are drawn.

Codes of LiteMedSAM from 8 slices, judged by all rows of 8 others: errors of 49 layers
are 0.99 times (4 bits) and 1.01 times (2 bits) those from all rows."""


@dataclass(frozen=True, eq=False)
class InputRows:
    """Rows of a layer's inputs.

    Parameters
    ----------
    values : Tensor, (rows, m), or (groups, rows, m) for grouped convolutions
    count : int
        Rows that there were, of which these are all or a sample.
    """

    values: Tensor
    count: int


@dataclass(frozen=True, eq=False)
class QuantizableLayer:
    """One layer, seen as a product of inputs with a weight.

    Parameters
    ----------
    name : str
        Of the module; its weight is ``name.weight`` in the state dict.
    module : nn.Module
        Linear, convolution, or transposed convolution whose kernel does not
        overlap itself.
    """

    name: str
    module: nn.Linear | nn.Conv2d | nn.ConvTranspose2d

    @property
    def groups(self) -> int:
        """Groups of a grouped convolution; 1 otherwise."""
        return getattr(self.module, "groups", 1)

    def weight(self) -> Tensor:
        """Return the weight with outputs first, as the quantizers take it.

        A transposed convolution gives (out * kh * kw, in): each of its outputs
        is one product with the input channels.
        """
        transposed = isinstance(self.module, nn.ConvTranspose2d)
        return to_rows(self.module.weight.detach(), transposed)

    def restore(self, weight: Tensor) -> Tensor:
        """Undo what :meth:`weight` did to the order of the axes."""
        transposed = isinstance(self.module, nn.ConvTranspose2d)
        return from_rows(weight, tuple(self.module.weight.shape), transposed)

    def accumulator(self) -> GramAccumulator:
        """Return an empty sum for this layer's inputs."""
        return GramAccumulator(self.weight()[0].numel(), self.groups)

    def rows(self, x: Tensor, generator: torch.Generator | None = None) -> InputRows:
        """Return the rows of inputs that meet the weight.

        Of inputs with more than :data:`MOST_ROWS` rows, as many are drawn where
        there is a generator: one from each of equally long stretches, so that
        they lie all over the image.

        Parameters
        ----------
        x : Tensor
            What the module was called with.
        generator : torch.Generator, optional
            Default: all rows.
        """
        conv = self.module
        if isinstance(conv, nn.Linear):
            values = x.flatten(0, -2)
            chosen = _drawn(len(values), generator)
            return InputRows(values if chosen is None else values[chosen], len(values))
        place = _Places(conv, tuple(x.shape))
        chosen = _drawn(place.count, generator)
        if chosen is None:
            chosen = torch.arange(place.count)
        image, taps, inside = place.of(chosen)
        patches = x.flatten(2)[image[:, None], :, taps] * inside[:, :, None]
        patches = patches.transpose(1, 2)  # (rows, C, kh * kw)
        if self.groups == 1:
            return InputRows(patches.flatten(1), place.count)
        patches = patches.unflatten(1, (self.groups, -1)).flatten(2)
        return InputRows(patches.transpose(0, 1), place.count)


class _Places:
    """Where a convolution's outputs take their inputs from.

    Parameters
    ----------
    conv : nn.Conv2d or nn.ConvTranspose2d
        Each input of a transposed one, whose kernel does not overlap itself, is
        taken once.
    shape : tuple of int
        (B, C, H, W) of its inputs.
    """

    def __init__(
        self, conv: nn.Conv2d | nn.ConvTranspose2d, shape: tuple[int, ...]
    ) -> None:
        self._size = shape[2:]
        self._kernel: tuple[int, ...] = (1, 1)
        self._stride: tuple[int, ...] = (1, 1)
        self._dilation: tuple[int, ...] = (1, 1)
        self._padding: tuple[int, ...] = (0, 0)
        if isinstance(conv, nn.Conv2d):
            assert not isinstance(conv.padding, str)
            self._kernel, self._stride = conv.kernel_size, conv.stride
            self._dilation, self._padding = conv.dilation, conv.padding
        self._outputs = tuple(
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, padding, dilation, kernel, stride in zip(
                self._size,
                self._padding,
                self._dilation,
                self._kernel,
                self._stride,
                strict=True,
            )
        )
        self.count = shape[0] * self._outputs[0] * self._outputs[1]

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what outputs number `rows` see.

        Returns
        -------
        image : Tensor, (rows,)
        taps : Tensor, (rows, kh * kw)
            Pixels, counted through the image; any pixel for padding.
        inside : Tensor, (rows, kh * kw) bool
            False for padding.
        """
        height, width = self._outputs
        (y, y_inside), (x, x_inside) = (
            self._along(axis, output)
            for axis, output in enumerate((rows // width % height, rows % width))
        )
        taps = (y * self._size[1])[:, :, None] + x[:, None]
        inside = y_inside[:, :, None] & x_inside[:, None]
        return rows // (height * width), taps.flatten(1), inside.flatten(1)

    def _along(self, axis: int, output: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels that outputs see along one axis, and whether they exist."""
        steps = torch.arange(self._kernel[axis]) * self._dilation[axis]
        first = output * self._stride[axis] - self._padding[axis]
        pixels = first[:, None] + steps
        last = self._size[axis] - 1
        return pixels.clamp(0, last), (pixels >= 0) & (pixels <= last)


def _drawn(count: int, generator: torch.Generator | None) -> Tensor | None:
    """Draw places among `count`, ascending; None where all are wanted."""
    if generator is None or count <= MOST_ROWS:
        return None
    stretches = torch.arange(MOST_ROWS, dtype=torch.float64)
    within = torch.rand(MOST_ROWS, generator=generator, dtype=torch.float64)
    return ((stretches + within) * (count / MOST_ROWS)).long().clamp_(max=count - 1)


def quantizable_layers(model: nn.Module) -> list[QuantizableLayer]:
    """Return the layers of a model that are quantized, in order of definition."""
    return list(_layers(model))


def _layers(model: nn.Module) -> Iterator[QuantizableLayer]:
    for name, module in model.named_modules():
        if name.split(".")[0] in PARTS and isinstance(module, KINDS):
            if isinstance(module, nn.ConvTranspose2d):
                assert module.kernel_size == module.stride
            yield QuantizableLayer(name, module)


def stages(layers: list[QuantizableLayer]) -> list[list[QuantizableLayer]]:
    """Cut the layers into runs that share a block, for sequential calibration."""
    groups: list[list[QuantizableLayer]] = []
    previous = None
    for layer in layers:
        block = _block(layer.name)
        if block != previous:
            groups.append([])
            previous = block
        groups[-1].append(layer)
    return groups


def _block(name: str) -> str:
    """Name of a layer's block: everything up to its last number but one level."""
    parts = name.split(".")
    numbered = [i for i, part in enumerate(parts[:-1]) if part.isdigit()]
    return ".".join(parts[: numbered[-1] + 1] if numbered else parts[:2])


def replace_weight(layer: QuantizableLayer, weight: Tensor) -> None:
    """Put a weight with outputs first into the module."""
    with torch.no_grad():
        layer.module.weight.copy_(layer.restore(weight))
