"""The unit map u(i, j): which weights of a layer share a scale.

Layouts: a weight is `(groups, m, n)`, inputs by outputs; `groups` is 1 except
for grouped convolutions. Values of the units (scales, zero points) have the
shape of :attr:`UnitMap.shape`:

==========================  ==================  ==============================
units                       shape               unit of weight [c, i, j]
==========================  ==================  ==============================
layer                       (1, 1, 1)           0
channel                     (groups, 1, n)      (c, j)
group:g                     (groups, k, n)      (c, i // g, j)
group:g, rows permuted      (groups, k, n)      (c, index[c, i], j)
elements permuted           (count,)            index[c, i, j]
==========================  ==================  ==============================
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_qmedsam.checkpoints.packed.granularity import (
    Granularity,
    GranularityKind,
    Permutation,
)


@dataclass(frozen=True)
class UnitMap:
    """Which unit each weight of a `(groups, m, n)` layer belongs to.

    Make one with :func:`unit_map`, or with :func:`stored_unit_map` from an
    index that is there already.

    Parameters
    ----------
    granularity : Granularity
    permutation : Permutation
    weight_shape : tuple of int
        (groups, m, n).
    index : Tensor or None, int64
        Group of each row, (groups, m), for groups; unit of each weight,
        (groups, m, n), for permuted elements; None where the position says it.
    """

    granularity: Granularity
    permutation: Permutation
    weight_shape: tuple[int, int, int]
    index: Tensor | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one value per unit."""
        groups, m, n = self.weight_shape
        if self.permutation is Permutation.ELEMENTS:
            return (unit_count(self.granularity, self.weight_shape),)
        if self.granularity.kind is GranularityKind.LAYER:
            return (1, 1, 1)
        return (groups, _groups_per_channel(self.granularity, m), n)

    @property
    def count(self) -> int:
        """Number of units."""
        return math.prod(self.shape)

    @property
    def separable(self) -> bool:
        """Whether no unit reaches beyond one output channel."""
        return len(self.shape) == 3 and self.shape != (1, 1, 1)

    def expand(self, values: Tensor) -> Tensor:
        """Return the value of each weight's unit, as (groups, m, n)."""
        if self.index is None:
            return values.expand(self.weight_shape)
        if len(self.shape) == 1:
            return values[self.index]
        if self.weight_shape[0] == 1:
            # Whole rows at a time: several times faster than one by one.
            return values.index_select(1, self._row_units())
        return values.gather(1, self._rows())

    def sum(self, values: Tensor) -> Tensor:
        """Sum (groups, m, n) values over each unit."""
        if self.index is None:
            dims = (0, 1, 2) if self.shape == (1, 1, 1) else 1
            return values.sum(dim=dims, keepdim=True)
        zeros = values.new_zeros(self.shape)
        if len(self.shape) == 1:
            return zeros.index_add_(0, self.index.reshape(-1), values.reshape(-1))
        if self.weight_shape[0] == 1:
            return zeros.index_add_(1, self._row_units(), values)
        return zeros.scatter_add_(1, self._rows(), values)

    def minimum(self, values: Tensor) -> Tensor:
        """Return the smallest of each unit's (groups, m, n) values."""
        return self._extreme(values, "amin")

    def maximum(self, values: Tensor) -> Tensor:
        """Return the largest of each unit's (groups, m, n) values."""
        return self._extreme(values, "amax")

    def _extreme(self, values: Tensor, reduce: str) -> Tensor:
        if self.index is None:
            dims = (0, 1, 2) if self.shape == (1, 1, 1) else 1
            return getattr(values, reduce)(dim=dims, keepdim=True)
        start = values.new_zeros(self.shape)
        dim, index = 1, self._rows()
        if len(self.shape) == 1:
            dim, index, values = 0, self.index.reshape(-1), values.reshape(-1)
        return start.scatter_reduce_(dim, index, values, reduce, include_self=False)

    def _row_units(self) -> Tensor:
        """Group of each row of an ungrouped layer, (m,)."""
        assert self.index is not None
        return self.index[0]

    def _rows(self) -> Tensor:
        assert self.index is not None
        return (self.index if self.index.ndim == 3 else self.index[:, :, None]).expand(
            self.weight_shape
        )

    def system_sum(self, values: Tensor) -> Tensor:
        """Sum unit values over units that influence each other.

        Units of one channel see the same outputs; permuted elements are all
        coupled. The result broadcasts against unit values.
        """
        if len(self.shape) == 1:
            return values.sum(dim=0, keepdim=True)
        return values.sum(dim=1, keepdim=True)

    def objective_sum(self, values: Tensor) -> Tensor:
        """Sum (groups, m, n) values per system, to broadcast like system sums.

        Summed in float64.
        """
        if self.separable:
            return values.sum(dim=1, keepdim=True, dtype=torch.float64)
        return values.sum(dtype=torch.float64).reshape([1] * len(self.shape))

    def reordered(self, rows: Tensor) -> "UnitMap":
        """Return the map for weights whose rows are taken in this order.

        `rows` is (groups, m).
        """
        if self.index is None:
            return self
        if self.index.ndim == 3:
            rows = rows[:, :, None].expand(self.weight_shape)
        return replace(self, index=self.index.gather(1, rows))

    def to_stored(self, values: Tensor) -> Tensor:
        """Return unit values in the order of files.

        (1,) for layers, (out,) for channels, (out, k) for groups, (count,) for
        elements, where out = groups * n.
        """
        if len(self.shape) == 1 or self.shape == (1, 1, 1):
            return values.reshape(-1)
        stored = values.transpose(1, 2).reshape(-1, self.shape[1])
        if self.granularity.kind is GranularityKind.CHANNEL:
            return stored[:, 0].contiguous()
        return stored.contiguous()

    def from_stored(self, values: Tensor) -> Tensor:
        """Undo :meth:`to_stored`."""
        if len(self.shape) == 1 or self.shape == (1, 1, 1):
            return values.reshape(self.shape)
        groups, k, n = self.shape
        return values.reshape(groups, n, k).transpose(1, 2).contiguous()

    @property
    def stored_index(self) -> Tensor | None:
        """The index a file must hold: (groups, m), (out, m), or None."""
        if self.index is None or self.permutation is Permutation.NONE:
            return None
        if self.permutation is Permutation.ROWS:
            return self.index
        return self.index.transpose(1, 2).reshape(-1, self.weight_shape[1])

    @property
    def index_range(self) -> int:
        """One more than the largest entry of :attr:`stored_index`."""
        return self.shape[1] if self.permutation is Permutation.ROWS else self.count


def unit_map(
    weight: Tensor, granularity: Granularity, permutation: Permutation
) -> UnitMap:
    """Cut a layer into units by position, or by the values of its elements.

    Elements: all weights of the layer in ascending order of value, cut into as
    many units of equal size as `granularity` gives without permutation (n for
    ``channel``: the paper's choice). Sizes differ by one where they must.
    Permuted rows: see :mod:`~napari_qmedsam.quantization.row_orders`.

    Parameters
    ----------
    weight : Tensor, (groups, m, n)
    granularity : Granularity
    permutation : Permutation
        NONE or ELEMENTS.
    """
    assert permutation is not Permutation.ROWS
    shape: tuple[int, int, int] = tuple(weight.shape)  # type: ignore[assignment]
    index = None
    if permutation is Permutation.ELEMENTS:
        index = _cut_elements(weight, granularity)
    elif granularity.kind is GranularityKind.GROUP:
        rows = torch.arange(shape[1], device=weight.device)
        index = (rows // granularity.group_size).expand(shape[:2])
    return UnitMap(granularity, permutation, shape, index)


def stored_unit_map(
    granularity: Granularity,
    permutation: Permutation,
    weight_shape: tuple[int, int, int],
    stored_index: Tensor | None,
) -> UnitMap:
    """Return the unit map with an index as files hold it.

    Entries are taken as they are: check them against
    :attr:`UnitMap.index_range` first where they may be wrong.
    """
    groups, m, n = weight_shape
    index = None
    if permutation is Permutation.ELEMENTS:
        assert stored_index is not None
        index = stored_index.long().reshape(groups, n, m).transpose(1, 2).contiguous()
    elif permutation is Permutation.ROWS:
        assert stored_index is not None
        index = stored_index.long().reshape(groups, m)
    elif granularity.kind is GranularityKind.GROUP:
        index = (torch.arange(m) // granularity.group_size).expand(groups, m)
    return UnitMap(granularity, permutation, weight_shape, index)


def unit_count(granularity: Granularity, weight_shape: tuple[int, int, int]) -> int:
    """Return how many units `granularity` cuts a (groups, m, n) weight into."""
    groups, m, n = weight_shape
    if granularity.kind is GranularityKind.LAYER:
        return 1
    return groups * n * _groups_per_channel(granularity, m)


def _groups_per_channel(granularity: Granularity, m: int) -> int:
    if granularity.kind is GranularityKind.GROUP:
        return -(-m // granularity.group_size)
    return 1


def _cut_elements(weight: Tensor, granularity: Granularity) -> Tensor:
    """Return the unit of each weight when all are sorted by value and cut."""
    count = unit_count(granularity, tuple(weight.shape))  # type: ignore[arg-type]
    order = weight.reshape(-1).argsort(stable=True)
    total = order.numel()
    index = torch.empty_like(order)
    index[order] = torch.arange(total, device=order.device) * count // total
    return index.reshape(weight.shape)
