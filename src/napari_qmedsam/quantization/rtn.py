"""Rounding to nearest: no inputs, no sweeps."""

from napari_qmedsam.quantization.problem import LayerProblem, Solution


def quantize_layer(problem: LayerProblem) -> Solution:
    """Round a layer's weights to the levels nearest to them."""
    shrinkage = problem.settings.shrinkage
    if shrinkage is None:
        return problem.nearest
    grid = problem.rounded(shrinkage)
    return Solution(grid, (problem.objective(grid),))
