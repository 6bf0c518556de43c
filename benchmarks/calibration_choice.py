"""Choose the defaults of calibration: damping, whose inputs, λ, units.

    python benchmarks/calibration_choice.py [--slices 100] [--bits 2 4]
        [--out docs/quantization.md]

One setting at a time is changed from the defaults, on the demo model; DSC and NSD
are means over phantom slices that no training or calibration seed gives. The last
column is the difference in DSC to the defaults with its 95 % interval, from 2,000
resamplings of the slices.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pages import put_between
from paper.scored_slices import object_scores, phantom_slices

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.datasets.calibration import CalibrationSet, from_phantoms
from napari_qmedsam.evaluation.prompted_slices import PromptedSlice
from napari_qmedsam.evaluation.scores import Scores, headings
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.quantization.calibration import GramPass
from napari_qmedsam.quantization.model_layers import quantizable_layers
from napari_qmedsam.quantization.recipe import Recipe
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.quantization.whole_model import quantize_model

SEED = 0

ROWS = {"method": "permutation-comq"}
COMQ = {"method": "comq"}
COMQ_32 = {**COMQ, "granularity": "group:32"}

CASES: tuple[tuple[str, dict, float | None, bool], ...] = (
    ("rows", ROWS, None, False),
    ("rows, sequential", ROWS, None, True),
    *(("rows", ROWS, damping, False) for damping in (0.0, 0.01, 0.1, 0.3)),
    ("rows, λ = 1", {**ROWS, "shrinkage": 1.0}, None, False),
    ("rows, λ = 0.7", {**ROWS, "shrinkage": 0.7}, None, False),
    ("COMQ, groups of 32 unsorted", COMQ_32, None, False),
    ("COMQ, per channel", COMQ, None, False),
)
"""Label, settings, damping, sequential; the first is what the others differ from."""

RESAMPLINGS = 2000


def table(
    model: MedSAM,
    samples: CalibrationSet,
    test: tuple[PromptedSlice, ...],
    widths: list[int],
) -> Iterator[str]:
    sums = GramPass(quantizable_layers(model))
    against = "DSC, against the first row"
    titles = headings()
    columns = " | ".join(["bits", "", "damping", "effective bits", *titles, against])
    yield f"| {columns} |"
    yield "| ---: | --- | ---: | ---: |" + " ---: |" * len(titles) + " --- |"
    for bits in widths:
        base = None
        for label, values, damping, sequential in CASES:
            settings = QuantizationSettings.of(bit_width=bits, **values)
            recipe = Recipe(settings=settings, overrides=(), damping=damping)
            if base is not None and damping == Recipe().damping_at(bits):
                continue  # the first row once more
            result = quantize_model(
                model,
                recipe,
                samples,
                sequential=sequential,
                sums=None if sequential else sums,
            )
            scores = object_scores(result.model, test)
            against = "" if base is None else difference(scores, base)
            base = base or scores
            yield (
                f"| {bits} | {label} | {recipe.damping_at(bits):g} "
                f"| {result.effective_bits:.2f} | {_means(scores)} | {against} |"
            )
    yield f"| 32 | FP32 | | 32.00 | {_means(object_scores(model, test))} | |"


def _means(scores: list[list[Scores]]) -> str:
    return " | ".join(Scores.mean(s for item in scores for s in item).cells())


def difference(scores: list[list[Scores]], base: list[list[Scores]]) -> str:
    """Return the mean difference in DSC and its 95 % interval, as text."""
    sums = np.array(
        [
            (
                100 * sum(a.dsc - b.dsc for a, b in zip(mine, other, strict=True)),
                len(mine),
            )
            for mine, other in zip(scores, base, strict=True)
        ]
    )
    rng = np.random.default_rng(SEED)
    drawn = sums[rng.integers(len(sums), size=(RESAMPLINGS, len(sums)))].sum(1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], (2.5, 97.5))
    return f"{sums[:, 0].sum() / sums[:, 1].sum():+.2f} ({low:+.2f} to {high:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--calibration", type=int, default=32)
    parser.add_argument("--bits", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    model = resolve_model("demo").build()
    samples = from_phantoms(model.config, arguments.calibration, SEED)
    test = phantom_slices(arguments.slices, SEED)
    lines = []
    for line in table(model, samples, test, arguments.bits):
        print(line, flush=True)
        lines.append(line)
    if arguments.out:
        put_between(arguments.out, "calibration", "\n".join(lines))


if __name__ == "__main__":
    main()
