"""Bits per layer against one bit-width for all, at the same size.

    python benchmarks/budget.py [--slices 200] [--calibration 32]

Permutation-COMQ (rows) at 2 bits sets the size; COMQ per channel with bits
chosen per layer gets the same number of effective bits. Demo model, phantom
slices that no training seed gives.
"""

import argparse

from paper.scored_slices import phantom_slices, score

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.datasets.calibration import from_phantoms
from napari_qmedsam.evaluation.scores import headings
from napari_qmedsam.quantization.allocation import recipe_for_budget
from napari_qmedsam.quantization.recipe import Recipe
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.quantization.whole_model import quantize_model

SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--calibration", type=int, default=32)
    arguments = parser.parse_args()
    model = resolve_model("demo").build()
    samples = from_phantoms(model.config, arguments.calibration, SEED)
    test = phantom_slices(arguments.slices, SEED)
    uniform = Recipe(settings=QuantizationSettings.of(bit_width=2), overrides=())
    first = quantize_model(model, uniform, samples)
    chosen = recipe_for_budget(
        model,
        QuantizationSettings.of(method="comq"),
        samples,
        average_bits=first.effective_bits,
    )
    second = quantize_model(model, chosen, samples)
    titles = headings()
    print("| weights | effective bits | MB | " + " | ".join(titles) + " |")
    print("| --- | ---: | ---: |" + " ---: |" * len(titles))
    for name, result in (
        ("Permutation-COMQ, rows, 2 bits everywhere, sequential", first),
        ("COMQ, bits chosen per layer", second),
    ):
        cells = " | ".join(score(result.model, test).cells())
        size = result.stored_bytes / 1e6
        print(f"| {name} | {result.effective_bits:.2f} | {size:.2f} | {cells} |")
    print(f"| FP32 | 32.00 | | {' | '.join(score(model, test).cells())} |")


if __name__ == "__main__":
    main()
