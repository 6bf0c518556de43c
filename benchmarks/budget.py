"""Bits per layer against one bit-width for all, at the same size.

    python benchmarks/budget.py [--model demo] [--weights FILE] [--cases DIR]
        [--organs ID ...] [--every 1] [--slices 200] [--calibration 32]

Permutation-COMQ (rows) at 2 bits sets the size; COMQ per channel with bits
chosen per layer gets the same number of effective bits. Scored as in reproduce.py.
"""

import argparse
from pathlib import Path

from paper.paired import Difference, difference
from paper.scored_slices import object_scores, scored_sets

from napari_qmedsam.checkpoints.packed.model_file import float_bytes
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.datasets.calibration import from_phantoms
from napari_qmedsam.evaluation.scores import Scores, headings
from napari_qmedsam.quantization.allocation import recipe_for_budget
from napari_qmedsam.quantization.recipe import Recipe
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.quantization.whole_model import quantize_model

SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--organs", type=int, nargs="+")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--calibration", type=int, default=32)
    given = parser.parse_args()
    model = resolve_model(given.model, given.weights).build()
    samples = from_phantoms(model.config, given.calibration, SEED)
    sets = scored_sets(given.slices, SEED, given.cases, given.organs, given.every)
    uniform = Recipe(settings=QuantizationSettings.of(bit_width=2), overrides=())
    first = quantize_model(model, uniform, samples)
    chosen = recipe_for_budget(
        model,
        QuantizationSettings.of(method="comq"),
        samples,
        average_bits=first.effective_bits,
    )
    second = quantize_model(model, chosen, samples)
    base = {name: object_scores(model, items) for name, items in sets.items()}
    titles = ["weights", "effective bits", "MB"]
    for name in sets:
        titles += [f"{name} {t}" for t in (*headings(), *Difference.headings())]
    print("| " + " | ".join(titles) + " |")
    print("| --- |" + " ---: |" * (len(titles) - 1))
    for label, result in (
        ("Permutation-COMQ, rows, 2 bits everywhere, sequential", first),
        ("COMQ, bits chosen per layer", second),
    ):
        cells = [label, f"{result.effective_bits:.2f}"]
        cells.append(f"{result.stored_bytes / 1e6:.2f}")
        for name, items in sets.items():
            scores = object_scores(result.model, items)
            cells += Scores.mean(s for item in scores for s in item).cells()
            cells += difference(items, scores, base[name]).cells()
        print("| " + " | ".join(cells) + " |", flush=True)
    cells = ["FP32", "32.00", f"{float_bytes(model.state_dict()) / 1e6:.2f}"]
    for scores in base.values():
        cells += Scores.mean(s for item in scores for s in item).cells()
        cells += [""] * len(Difference.headings())
    print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
