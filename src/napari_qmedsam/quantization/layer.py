"""Quantize one weight: the single way in for every method.

From here on out: weights as torch keeps them, (out, in) or (out, in, kh, kw).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from napari_qmedsam.checkpoints.packed.granularity import Permutation
from napari_qmedsam.checkpoints.packed.scale_format import ScaleFormat
from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor
from napari_qmedsam.checkpoints.packed.units import UnitMap, unit_map
from napari_qmedsam.errors import CalibrationMismatch, UnsupportedQuantization
from napari_qmedsam.quantization.methods import Method
from napari_qmedsam.quantization.problem import Grid, LayerProblem, Solution
from napari_qmedsam.quantization.row_orders import row_groups
from napari_qmedsam.quantization.settings import QuantizationSettings

DOUBLE_WORK = 3e8
"""Layers with at most this many multiplications per product with the Gram
matrix are solved in float64; larger ones in float32."""

CHECKED_ROWS = 256
"""Rows of a Gram matrix that are compared with its columns at a time."""

FLOAT32_UNIT = 256
"""Weights per unit from which float32 scales are worth their bits."""

FLOAT32_BITS = 6
"""Bit-width from which rounding scales to float16 shows."""


@dataclass(frozen=True)
class LayerReport:
    """How well a quantized weight does on its calibration inputs.

    Parameters
    ----------
    rtn_objective : float
        ``‖X W_q - X W‖²`` of rounding to nearest with the same units, λ = 1.
    objective : tuple of float
        After each sweep; one value for methods without sweeps. COMQ's never
        rises, and ends no higher than `rtn_objective`, rounding of sums apart.
    output_energy : float
        ``‖X W‖²``.
    seconds : float
    """

    rtn_objective: float
    objective: tuple[float, ...]
    output_energy: float
    seconds: float

    @property
    def relative_error(self) -> float:
        """Last objective over output energy; 0 where both are 0."""
        return self.objective[-1] / self.output_energy if self.output_energy else 0.0


class QuantizedWeight(NamedTuple):
    """A quantized weight and how it was reached; unpacks into the two."""

    tensor: QuantizedTensor
    report: LayerReport

    @property
    def codes(self) -> Tensor:
        """Codes in the shape of the weight, int32: ``W_q = scale * codes``."""
        return self.tensor.codes

    @property
    def scales(self) -> Tensor:
        """One scale per unit, float32; shapes as in :class:`QuantizedTensor`."""
        return self.tensor.scale

    @property
    def effective_bits(self) -> float:
        """Stored bits per weight, all included."""
        return self.tensor.effective_bits

    @property
    def objective(self) -> tuple[float, ...]:
        """``‖X W_q - X W‖²`` after each sweep."""
        return self.report.objective

    def dequantize(self) -> Tensor:
        """Return W_q in the shape of the weight, float32."""
        return self.tensor.dequantize()


@torch.no_grad()
def quantize_weight(
    weight: Tensor,
    gram: Tensor | None = None,
    settings: QuantizationSettings | None = None,
    **values: Any,
) -> QuantizedWeight:
    """Quantize one weight.

    Parameters
    ----------
    weight : Tensor, (out, in) or (out, in / groups, kernel...)
        Of a linear layer or a convolution. Transposed convolutions store
        inputs first: bring those to this order.
    gram : Tensor, (m, m), or (groups, m, m) for a grouped convolution
        XᵀX of the calibration inputs of one output channel, m = in for linear
        layers; for convolutions m = in / groups * kernel, patches unfolded in
        the order of the weight. float64 at best. RTN can do without, and then
        reports the error of the weights themselves.
    settings : QuantizationSettings, optional
    **values
        Settings by name where `settings` is left out, such as
        ``method="comq", bit_width=2, granularity="group:32"``.

    Returns
    -------
    QuantizedWeight
        The tensor, on the CPU, and a report.

    Raises
    ------
    UnsupportedQuantization
        If a setting is unknown or out of range, the weight is not of 2 or more
        dimensions, empty or not finite, or its outputs do not divide into
        groups.
    CalibrationMismatch
        If the Gram matrix is missing, of another shape, not finite, not
        symmetric or has a negative diagonal.

    Examples
    --------
    >>> weight, inputs = torch.randn(8, 32), torch.randn(100, 32)
    >>> result = quantize_weight(weight, inputs.T @ inputs, method="comq")
    >>> result.codes.shape, len(result.objective)
    (torch.Size([8, 32]), 3)
    """
    started = time.perf_counter()
    if settings is None:
        settings = QuantizationSettings.of(**values)
    elif values:
        raise UnsupportedQuantization(
            f"Give settings or {', '.join(values)} by name, not both."
        )
    _check_weight(weight)
    matrices = _checked_gram(gram, weight, settings)
    groups, m = matrices.shape[0], weight[0].numel()
    small = weight.numel() * m <= DOUBLE_WORK
    dtype = torch.float64 if small else torch.float32
    matrices = matrices.to(weight.device, dtype)
    layout = weight.detach().to(dtype).reshape(groups, -1, m)
    layout = layout.transpose(1, 2).contiguous()  # (groups, m, n)

    granularity, permutation = settings.units
    if permutation is Permutation.ROWS:
        importance = matrices.diagonal(dim1=1, dim2=2)
        units = row_groups(layout, importance, granularity, settings.bit_width)
    else:
        units = unit_map(layout, granularity, permutation)
    scale_format = _resolved_format(settings, units)
    problem = LayerProblem(layout, matrices, units, settings, scale_format)
    solution = solver_of(settings.method)(problem)
    tensor = _as_tensor(solution.grid, weight, units, settings, scale_format)
    energy = float((layout * (matrices @ layout)).sum(dtype=torch.float64))
    seconds = time.perf_counter() - started
    (rounded,) = problem.nearest.objectives
    report = LayerReport(rounded, solution.objectives, max(energy, 0.0), seconds)
    return QuantizedWeight(tensor, report)


def solver_of(method: Method) -> Callable[[LayerProblem], Solution]:
    """Import the function by which a method quantizes a layer."""
    module, name = method.traits.solver.split(".")
    return getattr(import_module(f"napari_qmedsam.quantization.{module}"), name)


def _resolved_format(settings: QuantizationSettings, units: UnitMap) -> ScaleFormat:
    if settings.scale_format is not ScaleFormat.AUTO:
        return settings.scale_format
    large = math.prod(units.weight_shape) >= FLOAT32_UNIT * units.count
    # Narrow units of permuted elements lie far from zero in their own steps.
    elements = settings.permutation is Permutation.ELEMENTS
    if large or elements or settings.bit_width >= FLOAT32_BITS:
        return ScaleFormat.FLOAT32
    return ScaleFormat.FLOAT16


def _as_tensor(
    grid: Grid,
    weight: Tensor,
    units: UnitMap,
    settings: QuantizationSettings,
    scale_format: ScaleFormat,
) -> QuantizedTensor:
    levels = grid.codes - units.expand(grid.zero_point)
    index = units.stored_index
    granularity, permutation = settings.units
    return QuantizedTensor(
        levels=levels.transpose(1, 2).reshape(weight.shape).to("cpu", torch.uint8),
        scale=units.to_stored(grid.scale).to("cpu", torch.float32),
        zero_point=units.to_stored(grid.zero_point).to("cpu", torch.int32),
        unit_index=None if index is None else index.to("cpu", torch.int32),
        bit_width=settings.bit_width,
        granularity=granularity,
        permutation=permutation,
        groups=units.weight_shape[0],
        scale_format=scale_format,
    )


def _check_weight(weight: Tensor) -> None:
    if weight.ndim < 2 or weight.numel() == 0:
        raise UnsupportedQuantization(
            f"Expected a weight of shape (out, in, ...), got {tuple(weight.shape)}."
        )
    if not torch.isfinite(weight).all():
        raise UnsupportedQuantization("The weight holds values that are not finite.")


def _checked_gram(
    gram: Tensor | None, weight: Tensor, settings: QuantizationSettings
) -> Tensor:
    """Return the Gram matrices as (groups, m, m)."""
    out, m = weight.shape[0], weight[0].numel()
    if gram is None:
        if settings.method.traits.needs_inputs:
            raise CalibrationMismatch(
                f"Method '{settings.method}' needs the Gram matrix of the calibration "
                "inputs; only rtn does without."
            )
        return torch.eye(m, device=weight.device)[None]
    matrices = gram.detach()
    if matrices.ndim == 2:
        matrices = matrices[None]
    if matrices.ndim != 3 or matrices.shape[1:] != (m, m):
        raise CalibrationMismatch(
            f"Expected a Gram matrix of shape ({m}, {m}) for a weight of shape "
            f"{tuple(weight.shape)}, got {tuple(gram.shape)}."
        )
    if out % matrices.shape[0]:
        raise UnsupportedQuantization(
            f"{out} output channels do not divide into {matrices.shape[0]} groups."
        )
    # One sum, and blocks that fit the cache: a large matrix is read fast so.
    if not torch.isfinite(matrices.sum(dtype=torch.float64)):
        raise CalibrationMismatch("The Gram matrix holds values that are not finite.")
    diagonal = matrices.diagonal(dim1=1, dim2=2)
    asymmetry = torch.stack(
        [
            (rows - columns.mT).abs_().amax()
            for rows, columns in zip(
                matrices.split(CHECKED_ROWS, dim=1),
                matrices.split(CHECKED_ROWS, dim=2),
                strict=True,
            )
        ]
    ).amax()
    if asymmetry > 1e-3 * diagonal.abs().amax() or (diagonal < 0).any():
        raise CalibrationMismatch(
            "The Gram matrix must be XᵀX: symmetric, with a diagonal of sums of "
            f"squares; it differs from its transpose by up to {float(asymmetry):.3g} "
            f"and its diagonal goes down to {float(diagonal.min()):.3g}."
        )
    return matrices
