"""A quantized weight: codes, scales, zero points, and how many bits they take."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_qmedsam.checkpoints.packed.granularity import Granularity, Permutation
from napari_qmedsam.checkpoints.packed.packing import bits_for, packed_size
from napari_qmedsam.checkpoints.packed.scale_format import ScaleFormat
from napari_qmedsam.checkpoints.packed.units import UnitMap, stored_unit_map
from napari_qmedsam.errors import UnsupportedQuantization


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A weight as ``W_q = scale * codes``, with whole codes of few bits.

    Parameters
    ----------
    levels : Tensor, uint8
        ``codes - zero_point``, each from 0 to ``2**bit_width - 1``, in the
        shape of the weight: (out, in), (out, in / groups, kh, kw), ...
    scale : Tensor, float32
        δ, one per unit: (1,) per layer, (out,) per channel, (out, k) for k
        groups to a channel, (units,) for permuted elements.
    zero_point : Tensor, int32
        z, the smallest code of each unit; shape of `scale`.
    bit_width : int
        1 to 8.
    granularity : Granularity
    permutation : Permutation
    unit_index : Tensor or None, int32
        For permuted rows the group of each row, (groups, m), where m is the
        number of weights of one output channel; for permuted elements the unit
        of each weight, (out, m).
    groups : int
        Groups of a grouped convolution.
    scale_format : ScaleFormat
        FLOAT16 or FLOAT32: what a file holds. float16 comes with one common
        exponent; `scale` holds exactly the values that a file keeps.

    Raises
    ------
    UnsupportedQuantization
        If shapes, types or ranges do not fit each other.
    """

    levels: Tensor
    scale: Tensor
    zero_point: Tensor
    bit_width: int
    granularity: Granularity
    permutation: Permutation = Permutation.NONE
    unit_index: Tensor | None = None
    groups: int = 1
    scale_format: ScaleFormat = ScaleFormat.FLOAT32

    def __post_init__(self) -> None:
        if not 1 <= self.bit_width <= 8:
            raise UnsupportedQuantization(
                f"Bit-width {self.bit_width} is outside 1 to 8."
            )
        if self.levels.dtype != torch.uint8 or self.levels.ndim < 2:
            raise UnsupportedQuantization(
                "Expected uint8 levels of shape (out, in, ...), got "
                f"{self.levels.dtype} {tuple(self.levels.shape)}."
            )
        if self.levels.numel() == 0 or self.levels.shape[0] % self.groups:
            raise UnsupportedQuantization(
                f"Levels of shape {tuple(self.levels.shape)} do not divide into "
                f"{self.groups} groups."
            )
        if int(self.levels.max()) >= 2**self.bit_width:
            raise UnsupportedQuantization(
                f"Level {int(self.levels.max())} does not fit {self.bit_width} bits."
            )
        self._check_index()
        expected = tuple(self._units.to_stored(torch.empty(self._units.shape)).shape)
        for name, values in (("scale", self.scale), ("zero_point", self.zero_point)):
            if tuple(values.shape) != expected:
                raise UnsupportedQuantization(
                    f"Expected {name} to have shape {expected}, got "
                    f"{tuple(values.shape)}."
                )
        if not (torch.isfinite(self.scale) & (self.scale > 0)).all():
            raise UnsupportedQuantization("Scales must be positive and finite.")

    def _check_index(self) -> None:
        shape: tuple[int, ...] | None = None
        if self.permutation is Permutation.ROWS:
            shape = (self.groups, self.layout_shape[1])
        elif self.permutation is Permutation.ELEMENTS:
            shape = (self.levels.shape[0], self.layout_shape[1])
        actual = None if self.unit_index is None else tuple(self.unit_index.shape)
        if actual != shape:
            raise UnsupportedQuantization(
                f"Expected a unit index of shape {shape}, got {actual}."
            )
        if self.unit_index is not None and not (
            int(self.unit_index.min()) >= 0
            and int(self.unit_index.max()) < self._units.index_range
        ):
            raise UnsupportedQuantization(
                f"Unit index goes from {int(self.unit_index.min())} to "
                f"{int(self.unit_index.max())}, but there are "
                f"{self._units.index_range} units to point at."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return tuple(self.levels.shape)

    @property
    def layout_shape(self) -> tuple[int, int, int]:
        """(groups, m, n): inputs by outputs of each group."""
        out = self.levels.shape[0]
        return self.groups, self.levels.numel() // out, out // self.groups

    @property
    def _units(self) -> UnitMap:
        return stored_unit_map(
            self.granularity, self.permutation, self.layout_shape, self.unit_index
        )

    def _expanded(self, values: Tensor) -> Tensor:
        """Return the value of each weight's unit, in the shape of the weight."""
        units = self._units
        full = units.expand(units.from_stored(values))
        return full.transpose(1, 2).reshape(self.shape)

    @property
    def codes(self) -> Tensor:
        """Q in the shape of the weight, int32."""
        return self.levels + self._expanded(self.zero_point)

    def dequantize(self) -> Tensor:
        """Return W_q in the shape of the weight, float32."""
        return self._expanded(self.scale) * self.codes.float()

    @property
    def row_order(self) -> Tensor:
        """Inputs in the order that makes units contiguous, (groups, m) int64.

        Taking inputs and weights in this order turns permuted rows into plain
        groups; the identity where rows are not permuted.
        """
        groups, m, _ = self.layout_shape
        if self.permutation is Permutation.ROWS and self.unit_index is not None:
            return self.unit_index.argsort(dim=1, stable=True)
        return torch.arange(m).expand(groups, m)

    @property
    def zero_point_bits(self) -> int:
        """Bits of one stored zero point; 0 where all are equal."""
        return bits_for(int(self.zero_point.max()) - int(self.zero_point.min()))

    @property
    def index_bits(self) -> int:
        """Bits of one stored entry of the unit index; 0 where none is needed."""
        if self.unit_index is None:
            return 0
        return bits_for(self._units.index_range - 1)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors a file holds for this weight."""
        scale_bytes = 2 if self.scale_format is ScaleFormat.FLOAT16 else 4
        index = 0 if self.unit_index is None else self.unit_index.numel()
        return (
            packed_size(self.levels.numel(), self.bit_width)
            + self.scale.numel() * scale_bytes
            + packed_size(self.zero_point.numel(), self.zero_point_bits)
            + packed_size(index, self.index_bits)
        )

    @property
    def effective_bits(self) -> float:
        """Bits per weight of all that a file holds: `stored_bytes` in bits.

        The header of the file, with names and shapes, is not in it.
        """
        return 8 * self.stored_bytes / math.prod(self.shape)
