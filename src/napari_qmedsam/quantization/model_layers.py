"""Which layers of a model are quantized, and what each one multiplies.

Every linear layer and convolution of image encoder and mask decoder. The
prompt encoder, normalisations, biases and tables stay float (QMedSAM, section
2.2): they hold under a hundredth of the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_qmedsam.checkpoints.packed.model_file import from_rows, to_rows
from napari_qmedsam.quantization.gram import GramAccumulator

PARTS = ("image_encoder", "mask_decoder")
"""Parts of a model whose layers are quantized."""

KINDS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
"""Layers that multiply an input with a weight."""


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

    def rows(self, x: Tensor) -> Tensor:
        """Return the rows of inputs that meet the weight.

        Parameters
        ----------
        x : Tensor
            What the module was called with.

        Returns
        -------
        Tensor, (rows, m), or (groups, rows, m) for grouped convolutions
        """
        if isinstance(self.module, nn.Linear):
            return x.flatten(0, -2)
        if isinstance(self.module, nn.ConvTranspose2d):
            return x.permute(0, 2, 3, 1).flatten(0, 2)
        conv = self.module
        if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1:
            return x.permute(0, 2, 3, 1).flatten(0, 2)
        assert not isinstance(conv.padding, str)
        patches = functional.unfold(
            x, conv.kernel_size, conv.dilation, conv.padding, conv.stride
        )  # (B, C * kh * kw, L)
        if conv.groups == 1:
            return patches.transpose(1, 2).flatten(0, 1)
        patches = patches.unflatten(1, (conv.groups, -1))  # (B, groups, m, L)
        return patches.permute(1, 0, 3, 2).flatten(1, 2)


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
