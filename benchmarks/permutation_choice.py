"""Compare permutations at equal effective bits.

Layers are simulated: `outliers` as in section 4.1 of the Permutation-COMQ paper
(64 x 64, sparse outliers), `heavy` (256 x 256, Student-t weights with 4 degrees
of freedom, rows and inputs of very different size, three inputs far larger than
the rest) and `even` (the same, nearly Gaussian). Prints one Markdown table per
kind: effective bits, relative error of the outputs, and that error over the
error of plain COMQ per channel at the same effective bits (interpolated between
its bit-widths, in the logarithm). For `outliers` also the relative error of the
weights, ``Σ|w_q - w| / Σ|w|``, in each quartile of their magnitude.

    python benchmarks/permutation_choice.py --seeds 8
"""

import argparse
import math

import numpy as np
import torch
from torch import Tensor

from napari_qmedsam.quantization import quantize_weight

COMQ = {"method": "comq"}
ROWS = {"permutation": "rows"}
METHODS = {
    "rtn, channel": {"method": "rtn"},
    "comq, channel": COMQ,
    "comq, group:16": {**COMQ, "granularity": "group:16"},
    "comq, group:32": {**COMQ, "granularity": "group:32"},
    "comq, group:64": {**COMQ, "granularity": "group:64"},
    "rows, group:16": {**ROWS, "granularity": "group:16"},
    "rows, group:32": {**ROWS, "granularity": "group:32"},
    "rows, group:64": {**ROWS, "granularity": "group:64"},
    "elements, channel": {"permutation": "elements"},
}
BIT_WIDTHS = (2, 3, 4, 8)


def outliers(seed: int) -> tuple[Tensor, Tensor]:
    normal, generator = _normal(seed)
    weight = 0.05 * normal(64, 64)
    weight *= torch.exp(0.5 * normal(64, 1)) * torch.exp(0.5 * normal(1, 64))
    chosen = torch.rand(64, 64, generator=generator) < 0.01
    weight = torch.where(chosen, 2 * normal(64, 64), weight)
    return weight, normal(256, 64) @ (torch.eye(64) + 0.1 * normal(64, 64))


def heavy(seed: int, freedom: int = 4, spread: float = 0.5) -> tuple[Tensor, Tensor]:
    normal, _ = _normal(seed)
    m = n = 256
    chi = torch.stack([normal(n, m) ** 2 for _ in range(freedom)]).mean(dim=0)
    weight = 0.02 * normal(n, m) / chi.sqrt()
    weight *= torch.exp(spread * normal(1, m)) * torch.exp(0.3 * normal(n, 1))
    inputs = normal(2048, m) @ (torch.eye(m) + normal(m, m) / m**0.5)
    inputs *= torch.exp(0.7 * normal(m))
    inputs[:, :3] *= 8
    return weight, inputs + 0.5 * normal(m)


def even(seed: int) -> tuple[Tensor, Tensor]:
    return heavy(seed, freedom=200, spread=0.15)


def _normal(seed: int) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator), generator


def quartile_errors(weight: Tensor, quantized: Tensor) -> list[float]:
    """Return ``Σ|w_q - w| / Σ|w|`` in each quartile of ``|w|``."""
    size = weight.abs().reshape(-1)
    order = size.argsort()
    error = (quantized - weight).abs().reshape(-1)
    return [float(error[part].sum() / size[part].sum()) for part in order.chunk(4)]


def table(kind: str, seeds: int) -> None:
    make = {"outliers": outliers, "heavy": heavy, "even": even}[kind]
    bits: dict[tuple[str, int], float] = {}
    errors: dict[tuple[str, int], list[float]] = {}
    quartiles: dict[tuple[str, int], list[list[float]]] = {}
    reference = [("comq, channel", b) for b in range(2, 9)]
    wanted = [(name, b) for b in BIT_WIDTHS for name in METHODS]
    for seed in range(seeds):
        weight, inputs = make(seed)
        gram = inputs.double().T @ inputs.double()
        for key in dict.fromkeys(wanted + reference):
            result = quantize_weight(weight, gram, bit_width=key[1], **METHODS[key[0]])
            bits[key] = result.effective_bits
            errors.setdefault(key, []).append(result.report.relative_error)
            quartiles.setdefault(key, []).append(
                quartile_errors(weight, result.dequantize())
            )
    mean = {key: math.exp(np.mean(np.log(value))) for key, value in errors.items()}
    x = [bits[key] for key in reference]
    y = [math.log(mean[key]) for key in reference]

    simulation = kind == "outliers"
    print(f"\n### {kind}, {seeds} seeds\n")
    print("| method | bits | effective | error | over comq at equal bits |", end="")
    print(" quartiles of magnitude |" if simulation else "")
    print("|---|---|---|---|---|" + "---|" * simulation)
    for name, b in wanted:
        at = bits[name, b]
        row = f"| {name} | {b} | {at:.2f} | {mean[name, b]:.2e} |"
        if x[0] <= at <= x[-1]:
            row += f" {mean[name, b] / math.exp(np.interp(at, x, y)):.2f} |"
        else:
            # Extended by the slope of the last bit.
            end = y[-1] + (at - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2])
            row += f" {mean[name, b] / math.exp(end):.2g} (extended) |"
        if simulation:
            parts = np.mean(quartiles[name, b], axis=0)
            row += " " + ", ".join(f"{part:.2g}" for part in parts) + " |"
        print(row)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", default=["outliers", "heavy", "even"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for kind in arguments.kinds:
        table(kind, arguments.seeds)
