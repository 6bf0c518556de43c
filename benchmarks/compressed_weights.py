"""What compressed weights save in OpenVINO: file, memory, time.

    python benchmarks/compressed_weights.py [--model medsam_vit_b]
        [--out docs/quantization.md]

Each variant runs in a process of its own, after its graphs were converted in
another: resident memory before the model is loaded and after encodings, which
holds weights and the buffers of one slice, and the median time of an encoding.
Weights are seeded random numbers, rounded to nearest per channel: neither memory
nor time depends on their values.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pages import put_between

BITS = (32, 8, 4, 2)


def resident_megabytes() -> float:
    """Resident memory of this process now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(weights: str, repeats: int) -> dict[str, float]:
    """Encode one slice a few times."""
    import numpy as np

    from napari_qmedsam.runtime import load_backend

    before = resident_megabytes()
    backend = load_backend(weights)
    size = backend.config.input_size
    image = np.random.default_rng(0).random((3, size, size), np.float32)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        backend.encode(image)
        seconds.append(time.perf_counter() - start)
    return {
        "resident": resident_megabytes() - before,
        "ms": 1000 * statistics.median(seconds[1:]),
    }


def write_models(name: str, folder: Path) -> dict[int, Path]:
    """Write random weights, as they are and rounded to fewer bits."""
    import torch

    from napari_qmedsam.checkpoints.saving import save_model
    from napari_qmedsam.models import build_model
    from napari_qmedsam.quantization import quantize_weight
    from napari_qmedsam.quantization.model_layers import quantizable_layers

    torch.manual_seed(0)
    model = build_model(name)
    paths = {32: save_model(model, folder / "float.safetensors")}
    for bits in BITS[1:]:
        tensors = {
            layer.name: quantize_weight(
                layer.weight(), method="rtn", bit_width=bits
            ).tensor
            for layer in quantizable_layers(model)
        }
        path = folder / f"{bits}bit.qmedsam.safetensors"
        paths[bits] = save_model(model, path, quantized=tensors)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="medsam_vit_b")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.weights:
        print(json.dumps(measure(options.weights, options.repeats)))
        return
    lines = [
        f"`python benchmarks/compressed_weights.py --model {options.model}`",
        "",
        "| bits | file MB | resident MB | encoder ms |",
        "| ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for bits, path in write_models(options.model, Path(folder)).items():

            def in_own_process(repeats: int, path: Path = path) -> dict[str, float]:
                command = [sys.executable, __file__, "--weights", str(path)]
                command += ["--repeats", str(repeats)]
                env = {**os.environ, "QMEDSAM_CACHE": folder}
                done = subprocess.run(
                    command, env=env, check=True, stdout=subprocess.PIPE
                )
                return json.loads(done.stdout)

            in_own_process(2)  # converts
            figures = in_own_process(options.repeats)
            lines.append(
                f"| {bits} | {path.stat().st_size / 1e6:.1f} "
                f"| {figures['resident']:.0f} | {figures['ms']:.0f} |"
            )
            print(lines[-1], flush=True)
    if options.out:
        put_between(options.out, "compressed", "\n".join(lines))


if __name__ == "__main__":
    main()
