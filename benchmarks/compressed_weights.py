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
import tempfile
from pathlib import Path

from pages import put_between
from paper.measured import measured

BITS = (32, 8, 4, 2)


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
    options = parser.parse_args()
    lines = [
        f"`python benchmarks/compressed_weights.py --model {options.model}`",
        "",
        "| bits | file MB | resident MB | encoder ms |",
        "| ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for bits, path in write_models(options.model, Path(folder)).items():
            figures = measured(path, Path(folder), options.repeats)
            lines.append(
                f"| {bits} | {figures.disk:.1f} | {figures.resident:.0f} "
                f"| {figures.milliseconds:.0f} |"
            )
            print(lines[-1], flush=True)
    if options.out:
        put_between(options.out, "compressed", "\n".join(lines))


if __name__ == "__main__":
    main()
