"""Race the quantizer against its printed equations.

Races one sweep of tests/quantization/transcription.py, which works on the
calibration inputs X as the paper writes it, against a sweep of the solver, which
works on XᵀX, both in float32, on the same layer, in the same run.

    python benchmarks/quantizer_speed.py                   # rows extrapolated
    python benchmarks/quantizer_speed.py --whole           # a whole sweep, minutes
    python benchmarks/quantizer_speed.py --vit-b --threads 2

``--vit-b`` quantizes all of MedSAM ViT-B, with random weights, on two phantom
slices, and prints wall clock and peak memory of the process.
"""

import argparse
import resource
import runpy
import time
from pathlib import Path

import torch
from torch import Tensor

from napari_qmedsam.datasets.calibration import from_phantoms
from napari_qmedsam.models import build_model, config_of
from napari_qmedsam.quantization import GramAccumulator, quantize_weight
from napari_qmedsam.quantization.recipe import Recipe
from napari_qmedsam.quantization.whole_model import quantize_model

TRANSCRIPTION = Path(__file__).parents[1] / "tests/quantization/transcription.py"

VIT_B = "medsam_vit_b"


def make_layer(m: int, n: int, rows: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    weight = 0.02 * torch.randn(n, m) * torch.exp(0.3 * torch.randn(1, m))
    mixing = torch.eye(m) + 0.3 * torch.randn(m, m) / m**0.5
    return weight, torch.randn(rows, m) @ mixing


def transcription_sweep(weight: Tensor, inputs: Tensor, visited: int) -> float:
    """Seconds of a sweep of which `visited` rows were run, eq. (5) included."""
    printed = runpy.run_path(str(TRANSCRIPTION))
    w = weight.T.contiguous()
    m = w.shape[0]
    delta, z = printed["first_scales"](w, 4)
    wq, q, u = w.clone(), torch.zeros_like(w), torch.zeros_like(inputs @ w)
    seconds = 0.0
    for number, i in enumerate(range(0, m, max(1, m // visited))):
        started = time.perf_counter()
        printed["visit_row"](inputs, w, wq, q, u, delta, z, 4, i)
        # The first row pays for fresh memory.
        seconds += (time.perf_counter() - started) * (number > 0 or visited >= m)
    rows = number + (visited >= m)
    started = time.perf_counter()
    xq, xw = inputs @ q, inputs @ w
    delta = (xq * xw).sum(dim=0) / (xq * xq).sum(dim=0)
    return seconds / rows * m + time.perf_counter() - started


def race(m: int, n: int, rows: int, visited: int) -> None:
    weight, inputs = make_layer(m, n, rows)
    gram = GramAccumulator(m)
    started = time.perf_counter()
    gram.add(inputs)
    gram_seconds = time.perf_counter() - started
    slow = transcription_sweep(weight, inputs, min(visited, m))
    how = "whole sweep" if visited >= m else f"from {visited} of {m} rows"
    print(f"\n{m} inputs, {n} outputs, {rows} calibration rows")
    print(f"  equations on X    {slow:8.2f} s per sweep ({how})")
    print(f"  XᵀX, once         {gram_seconds:8.2f} s")
    for name, settings in (
        ("comq, channel", {"method": "comq"}),
        ("rows, group:32", {}),
        ("elements", {"permutation": "elements"}),
    ):
        few, many = (
            min(
                quantize_weight(
                    weight, gram.matrix, bit_width=4, sweeps=sweeps, **settings
                ).report.seconds
                for _ in range(2)
            )
            for sweeps in (1, 4)
        )
        fast = (many - few) / 3
        whole = few + 2 * fast
        print(
            f"  {name:16s}  {fast:8.2f} s per sweep, {slow / fast:6.0f} times faster; "
            f"3 sweeps and all else {whole:.2f} s, {3 * slow / whole:.0f} times faster"
        )


def vit_b() -> None:
    torch.manual_seed(0)
    model = build_model(config_of(VIT_B)).eval()
    calibration = from_phantoms(model.config, 2)
    started = time.perf_counter()
    result = quantize_model(model, Recipe(), calibration, sequential=False)
    seconds = time.perf_counter() - started
    layers = sum(report.seconds for report in result.reports.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"MedSAM ViT-B, {len(result.reports)} layers, permuted rows: quantized in "
        f"{layers:.0f} s, beside {seconds - layers:.0f} s for 2 calibration slices "
        f"and all else; peak {peak:.1f} GB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--visited", type=int, default=13)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--vit-b", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.vit_b:
        vit_b()
    else:
        for m, n in ((768, 3072), (3072, 768)):
            visited = m if arguments.whole else arguments.visited
            race(m, n, arguments.rows, visited)
