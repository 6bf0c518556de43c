"""Bits per layer against one bit-width for all, at the same size.

    python benchmarks/budget.py [--model demo] [--weights FILE] [--cases DIR]
        [--organs ID ...] [--every 1] [--slices 200] [--calibration 32]
        [--files FILE ...]

Permutation-COMQ (rows) at 2 bits sets the size; COMQ per channel with bits
chosen per layer gets the same number of effective bits. With --files, models that
were quantized before are scored instead. Scored as in reproduce.py.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from paper.paired import Difference, difference
from paper.scored_slices import object_scores, scored_sets

from napari_qmedsam.checkpoints.packed.model_file import SUFFIX, float_bytes
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.datasets.calibration import from_phantoms
from napari_qmedsam.evaluation.scores import Scores, headings
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.quantization.allocation import recipe_for_budget
from napari_qmedsam.quantization.recipe import Recipe
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.quantization.whole_model import quantize_model

SEED = 0


@dataclass(frozen=True)
class Result:
    """A row: a quantized model and what it stores."""

    label: str
    model: MedSAM
    effective_bits: float
    stored_bytes: int


def _quantized(model: MedSAM, slices: int) -> list[Result]:
    """Quantize at the size of 2 bits, with one bit-width and with many."""
    samples = from_phantoms(model.config, slices, SEED)
    uniform = Recipe(settings=QuantizationSettings.of(bit_width=2), overrides=())
    first = quantize_model(model, uniform, samples)
    chosen = recipe_for_budget(
        model,
        QuantizationSettings.of(method="comq"),
        samples,
        average_bits=first.effective_bits,
    )
    second = quantize_model(model, chosen, samples)
    labels = (
        "Permutation-COMQ, rows, 2 bits everywhere, sequential",
        "COMQ, bits chosen per layer",
    )
    return [
        Result(label, of.model, of.effective_bits, of.stored_bytes)
        for label, of in zip(labels, (first, second), strict=True)
    ]


def _of_file(path: Path) -> Result:
    source = resolve_model(str(path))
    card = source.card
    label = path.name.removesuffix(SUFFIX)
    built = source.build()
    return Result(label, built, card["effective_bits"], card["stored_bytes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--organs", type=int, nargs="+")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--calibration", type=int, default=32)
    parser.add_argument("--files", type=Path, nargs="+")
    given = parser.parse_args()
    model = resolve_model(given.model, given.weights).build()
    if given.files:
        results = [_of_file(path) for path in given.files]
    else:
        results = _quantized(model, given.calibration)
    sets = scored_sets(given.slices, SEED, given.cases, given.organs, given.every)
    base = {name: object_scores(model, items) for name, items in sets.items()}
    titles = ["weights", "effective bits", "MB"]
    for name in sets:
        titles += [f"{name} {t}" for t in (*headings(), *Difference.headings())]
    print("| " + " | ".join(titles) + " |")
    print("| --- |" + " ---: |" * (len(titles) - 1))
    for result in results:
        cells = [result.label, f"{result.effective_bits:.2f}"]
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
