"""COMQ: coordinate descent on codes and scales, from the Gram matrix alone.

Minimises ``‖X W_q - X W‖² = <D, H D>`` with ``D = W - W_q`` and ``H = XᵀX``, over
``W_q[i, j] = δ_u(i,j) Q[i, j]`` (eqs. 1 and 2). Sweeps over the codes (eqs. 3
and 4) alternate with fits of the scales (eq. 5); neither can raise the
objective. Permutation-COMQ is the same descent with other units: the true
inputs stay in their true order, so that undoing the permutation costs nothing.
"""

from dataclasses import fields, replace

import torch
from torch import Tensor

from napari_qmedsam.checkpoints.packed.scale_format import as_stored
from napari_qmedsam.checkpoints.packed.units import UnitMap
from napari_qmedsam.quantization.problem import Grid, LayerProblem, Solution
from napari_qmedsam.quantization.scales import scale_step
from napari_qmedsam.quantization.settings import (
    Order,
    QuantizationSettings,
    ScaleFormat,
)
from napari_qmedsam.quantization.shrinkage import search_shrinkage
from napari_qmedsam.quantization.sweeps import (
    State,
    greedy_order,
    greedy_sweep,
    natural_sweep,
)
from napari_qmedsam.quantization.uniform import nearest_codes

NEGLIGIBLE = 1e-12
"""Inputs with less than this share of the largest ``‖x_i‖²`` count as dead."""


def quantize_layer(problem: LayerProblem) -> Solution:
    """Quantize one layer from the best first scale that is known, never below RTN.

    λ is searched for each unit unless the settings give it.
    """
    shrinkage: float | Tensor | None = problem.settings.shrinkage
    if shrinkage is None:
        shrinkage, _ = search_shrinkage(
            problem.units,
            problem.weight,
            problem.importance,
            problem.settings.bit_width,
        )
    solution = solve(problem, problem.rounded(shrinkage))
    (rounded,) = problem.nearest.objectives
    if solution.objectives[-1] <= rounded:
        return solution
    # A poor λ can do that; then rounding is the best that is known.
    return Solution(problem.nearest.grid, (*solution.objectives[:-1], rounded))


def solve(problem: LayerProblem, start: Grid, *, from_codes: bool = False) -> Solution:
    """Quantize one layer by coordinate descent.

    Starts from the float weight, as the papers do: the first sweep puts every
    weight on the grid, each making up for the errors of those before it. Or
    from codes that are there, `from_codes`, and never does worse than they.

    Parameters
    ----------
    problem : LayerProblem
        Fitted scales are rounded to its format.
    start : Grid
        Scale and zero point of each unit, and codes where they are used.
    from_codes : bool
    """
    weight, units, settings = problem.weight, problem.units, problem.settings
    gram, inverse = without_dead_inputs(problem.gram)
    rows = None
    if settings.order is Order.DESCENDING:
        # Ascending 1 / ‖x_i‖²; dead inputs come first, which does not matter.
        rows = inverse.argsort(dim=1, stable=True)
        weight, gram, inverse = reordered(weight, gram, inverse, rows)
        units = units.reordered(rows)
        start = replace(start, codes=take_rows(start.codes, rows))
    state, objectives = _descend(
        weight, gram, inverse, units, start, settings, problem.scale_format, from_codes
    )
    codes = state.codes
    dead = (inverse == 0)[:, :, None]
    if dead.any():
        # No effect on the outputs: back to the nearest level of the final grid.
        scale, zero_point = units.expand(state.scale), units.expand(state.zero_point)
        nearest = nearest_codes(weight, scale, zero_point, settings.bit_width)
        codes = torch.where(dead, nearest, codes)
    if rows is not None:
        codes = take_rows(codes, rows.argsort(dim=1))
    return Solution(Grid(state.scale, state.zero_point, codes), tuple(objectives))


def _descend(
    weight: Tensor,
    gram: Tensor,
    inverse: Tensor,
    units: UnitMap,
    start: Grid,
    settings: QuantizationSettings,
    scale_format: ScaleFormat,
    from_codes: bool,
) -> tuple[State, list[float]]:
    """Alternate sweeps and scale fits; the objective never rises."""
    order = None
    if settings.order is Order.GREEDY:
        order = greedy_order(weight, gram)
    state = State(
        quantized=weight.clone(),
        codes=torch.empty_like(weight),
        gradient=torch.zeros_like(weight),
        scale=start.scale,
        zero_point=start.zero_point,
    )
    best: State | None = None
    if from_codes:
        best = state_on_grid(weight, gram, units, start)
        state = best.clone()
    objectives: list[float] = []
    while len(objectives) < settings.sweeps:
        if order is not None:
            greedy_sweep(state, gram, inverse, units, settings.bit_width, order)
        else:
            natural_sweep(
                state, gram, inverse, units, settings.bit_width, settings.block_size
            )
        if best is not None:
            state = _better(state, best, weight, units)
        if settings.update_scales:
            scale = scale_step(units, gram, state.codes, state.gradient, state.scale)
            scale = as_stored(scale, scale_format)
            grid = Grid(scale, state.zero_point, state.codes)
            state = _better(
                state_on_grid(weight, gram, units, grid), state, weight, units
            )
        else:
            # Anew from the codes, so that rounding does not pile up.
            grid = Grid(state.scale, state.zero_point, state.codes)
            state = state_on_grid(weight, gram, units, grid)
        objectives.append(max(float(_objective(state, weight, units).sum()), 0.0))
        if best is not None and _same(state, best):
            # A fixed point: further sweeps would change nothing.
            objectives += objectives[-1:] * (settings.sweeps - len(objectives))
        best, state = state, state.clone()
    assert best is not None
    return best, objectives


def state_on_grid(weight: Tensor, gram: Tensor, units: UnitMap, grid: Grid) -> State:
    """Return the state of a layer with these codes on this grid."""
    quantized = grid.codes * units.expand(grid.scale)
    gradient = gram @ (weight - quantized)
    return State(quantized, grid.codes, gradient, grid.scale, grid.zero_point)


def without_dead_inputs(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Gram matrix and 1 / H[i, i], both 0 for inputs without energy."""
    diagonal = gram.diagonal(dim1=1, dim2=2)
    largest = diagonal.amax(dim=1, keepdim=True)
    dead = diagonal <= NEGLIGIBLE * largest
    inverse = torch.where(dead, torch.zeros_like(diagonal), 1 / diagonal)
    if dead.any():
        gram = gram.masked_fill(dead[:, :, None] | dead[:, None, :], 0)
    return gram, inverse


def _objective(state: State, weight: Tensor, units: UnitMap) -> Tensor:
    """Objective of each independent system of units, float64."""
    return units.objective_sum((weight - state.quantized) * state.gradient)


def _better(first: State, second: State, weight: Tensor, units: UnitMap) -> State:
    """Return the better of two states, system by system; ties to the second."""
    lower = _objective(first, weight, units) < _objective(second, weight, units)
    if bool(lower.all()):
        return first
    return State(
        *(
            torch.where(lower, getattr(first, field.name), getattr(second, field.name))
            for field in fields(State)
        )
    )


def _same(first: State, second: State) -> bool:
    return torch.equal(first.codes, second.codes) and torch.equal(
        first.scale, second.scale
    )


def take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Take the rows of (groups, m, n) values in the order of `rows`, (groups, m)."""
    if len(values) == 1:
        return values.index_select(1, rows[0])
    return values.gather(1, rows[:, :, None].expand_as(values))


def reordered(
    weight: Tensor, gram: Tensor, inverse: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the inputs of a layer in another order."""
    if len(gram) == 1:
        gram = gram[:, rows[0, :, None], rows[0]]  # half the time of rows, then columns
    else:
        gram = take_rows(take_rows(gram, rows).mT.contiguous(), rows)
    return take_rows(weight, rows), gram, inverse.gather(1, rows)
