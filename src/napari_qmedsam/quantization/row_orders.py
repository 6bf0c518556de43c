"""Which input rows are put together in groups: permutation by rows.

The paper orders weights by magnitude. What is the magnitude of a row? Its
largest weight, its root mean square, its median? Which groups best depends on
the layer, and now and then the rows as they are do best of all: a row that is
large because of one outlier drags the rows it is put with into a coarse grid.
What counts in the end is ``Σ_u δ_u² Σ_i‖x_i‖²``, so that a magnitude over the square
root of ``‖x_i‖`` is a candidate too. Rounding, weighted by the energy of the
inputs, costs next to nothing and foretells the order of merit after COMQ, so
that each layer takes the candidate it favours.
"""

import torch
from torch import Tensor

from napari_qmedsam.checkpoints.packed.granularity import Granularity, Permutation
from napari_qmedsam.checkpoints.packed.units import UnitMap, stored_unit_map
from napari_qmedsam.quantization.shrinkage import search_shrinkage

MOST_CHANNELS = 256
"""Output channels on which candidates are compared, evenly spread."""


def row_groups(
    weight: Tensor, importance: Tensor, granularity: Granularity, bit_width: int
) -> UnitMap:
    """Return permuted groups of rows under which rounding errs least.

    Parameters
    ----------
    weight : Tensor, (groups, m, n)
    importance : Tensor, (groups, m)
        ``‖x_i‖²`` of each input.
    granularity : Granularity
        GROUP.
    bit_width : int
    """
    spacing = -(-weight.shape[2] // MOST_CHANNELS)
    sample = weight[:, :, ::spacing].contiguous()
    ranks = torch.arange(weight.shape[1], device=weight.device)
    best, least = None, torch.inf
    for magnitude in row_magnitudes(weight, importance):
        order = magnitude.argsort(dim=1, stable=True)
        index = ranks.expand_as(order).scatter(1, order, ranks.expand_as(order))
        index = index // granularity.group_size
        shape: tuple[int, int, int] = tuple(sample.shape)  # type: ignore[assignment]
        units = UnitMap(granularity, Permutation.ROWS, shape, index)
        error = float(search_shrinkage(units, sample, importance, bit_width)[1].sum())
        if best is None or error < least:
            best, least = index, error
    shape = tuple(weight.shape)  # type: ignore[assignment]
    return stored_unit_map(granularity, Permutation.ROWS, shape, best)


def row_magnitudes(weight: Tensor, importance: Tensor) -> tuple[Tensor, ...]:
    """Return what rows may be ordered by, each (groups, m).

    Position (no permutation), root mean square, maximum, median, and the root
    mean square over ``‖x_i‖`` to the power of a half.
    """
    size = weight.abs()
    rms = weight.square().mean(dim=2).sqrt()
    positions = torch.arange(weight.shape[1], device=weight.device)
    lengths = importance.clamp(min=0).sqrt()
    return (
        positions.expand_as(rms).to(rms),
        rms,
        size.amax(dim=2),
        size.median(dim=2).values,
        # Dead inputs cost nothing wherever they go.
        torch.where(lengths > 0, rms / lengths.sqrt(), rms.new_tensor(torch.inf)),
    )
