"""Section 4.1: relative error against weight magnitude on simulated weights."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_qmedsam.quantization.layer import quantize_weight
from napari_qmedsam.quantization.settings import QuantizationSettings

SIZE, ROWS = 64, 256
"""Weight 64 x 64 and calibration 256 x 64, as in the paper."""

BITS = (2, 4, 8)

METHODS = {
    "COMQ": {"method": "comq"},
    "Permutation-COMQ, rows": {"method": "permutation-comq"},
    "Permutation-COMQ, elements": {
        "method": "permutation-comq",
        "permutation": "elements",
        "granularity": "channel",
    },
}
"""What is compared, per channel otherwise."""


@dataclass(frozen=True)
class SimulationRow:
    """Relative error of one method at one bit-width.

    Parameters
    ----------
    bits : int
    method : str
    effective_bits : float
    output_error : float
        ‖X(W_q - W)‖² over ‖XW‖².
    quartiles : tuple of float
        Σ|W_q - W| over Σ|W| in each quartile of |W|, smallest first.
    """

    bits: int
    method: str
    effective_bits: float
    output_error: float
    quartiles: tuple[float, ...]


@dataclass(frozen=True)
class Simulation:
    """Simulated weights, and what became of them.

    Parameters
    ----------
    weight : ndarray, (64, 64)
        Outputs by inputs.
    errors : mapping of (bits, method) to ndarray, (64, 64)
        W_q - W.
    rows : tuple of SimulationRow
    """

    weight: NDArray[np.float64]
    errors: dict[tuple[int, str], NDArray[np.float64]]
    rows: tuple[SimulationRow, ...]


def simulated_layer(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight and calibration inputs as section 4.1 describes them.

    Gaussian weights of small variance, row-wise and column-wise scales, a few
    entries of large magnitude (up to about 6); inputs are Gaussian, mildly
    correlated by a linear mixing.
    """
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 0.1, (SIZE, SIZE))
    weight *= rng.lognormal(0, 0.5, (SIZE, 1)) * rng.lognormal(0, 0.5, (1, SIZE))
    outliers = rng.choice(SIZE * SIZE, SIZE * SIZE // 100, replace=False)
    signs = rng.choice([-1.0, 1.0], outliers.size)
    weight.flat[outliers] = signs * rng.uniform(2, 6, outliers.size)
    mixing = np.eye(SIZE) + 0.05 * rng.normal(size=(SIZE, SIZE))
    return weight, rng.normal(size=(ROWS, SIZE)) @ mixing


def simulate(seed: int = 0) -> Simulation:
    """Quantize the simulated layer with every method and bit-width."""
    weight, inputs = simulated_layer(seed)
    gram = torch.from_numpy(inputs.T @ inputs)
    energy = float(np.square(inputs @ weight.T).sum())
    order = np.abs(weight).ravel().argsort()
    errors, rows = {}, []
    for bits in BITS:
        for name, settings in METHODS.items():
            chosen = QuantizationSettings.of(bit_width=bits, **settings)
            result = quantize_weight(torch.from_numpy(weight), gram, chosen)
            error = result.dequantize().double().numpy() - weight
            errors[bits, name] = error
            parts = np.array_split(order, 4)
            quartiles = tuple(
                float(
                    np.abs(error).ravel()[part].sum()
                    / np.abs(weight).ravel()[part].sum()
                )
                for part in parts
            )
            output = float(np.square(inputs @ error.T).sum()) / energy
            rows.append(
                SimulationRow(bits, name, result.effective_bits, output, quartiles)
            )
    return Simulation(weight, errors, tuple(rows))
