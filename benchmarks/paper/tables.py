"""Tables 1 and 2 of the paper: methods and units against bit-width."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paper.scored_slices import score

from napari_qmedsam.checkpoints.packed.model_file import float_bytes
from napari_qmedsam.datasets.calibration import CalibrationSet
from napari_qmedsam.evaluation.prompted_slices import PromptedSlice
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.quantization.calibration import GramPass
from napari_qmedsam.quantization.model_layers import quantizable_layers
from napari_qmedsam.quantization.recipe import Recipe
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.quantization.whole_model import quantize_model

Published = tuple[float, float] | None
"""DSC and NSD in the paper: MedSAM ViT-B on AbdomenCT-1K."""


@dataclass(frozen=True)
class Variant:
    """One row to make: settings, and the paper's figures where it has them."""

    label: str
    settings: dict[str, Any]
    published: Published = None
    damping: float | None = None


@dataclass(frozen=True)
class Row:
    """One row made; `scores` are by test set."""

    bits: int
    method: str
    effective_bits: float
    megabytes: float
    scores: Mapping[str, Scores]
    published: Published
    seconds: float


FLOAT = (93.505, 92.969)
"""The paper's FP32 row."""

TABLE_1: tuple[Variant, ...] = tuple(
    Variant(label, {"bit_width": bits, **settings}, published)
    for bits, figures in {
        2: ((29.79, 30.221), (71.8, 53.733), (86.939, 78.935)),
        3: (None, None, None),
        4: ((90.526, 86.755), (91.874, 90.011), (93.434, 93.089)),
        8: ((93.499, 92.936), (93.486, 92.938), (93.615, 93.204)),
    }.items()
    for (label, settings), published in zip(
        (
            ("RTN, per channel", {"method": "rtn"}),
            ("COMQ, per channel", {"method": "comq"}),
            ("Permutation-COMQ, rows", {"method": "permutation-comq"}),
        ),
        figures,
        strict=True,
    )
) + tuple(
    variant
    for bits in (2, 3, 4, 8)
    for variant in (
        Variant(
            "COMQ, λ = 1, no damping",
            {"bit_width": bits, "method": "comq", "shrinkage": 1.0, "order": "natural"},
            damping=0.0,
        ),
        Variant(
            "Permutation-COMQ, elements",
            {
                "bit_width": bits,
                "method": "permutation-comq",
                "permutation": "elements",
                "granularity": "channel",
            },
        ),
    )
)
"""Table 1, with 3 bits added, COMQ without our additions to it, and the paper's own
element permutation."""

TABLE_2: tuple[Variant, ...] = tuple(
    Variant(label, {"bit_width": bits, **settings}, published)
    for bits, (layer, ours) in {
        2: ((74.46, 54.825), (86.939, 78.935)),
        4: ((55.439, 43.685), (93.434, 93.089)),
        8: ((93.282, 92.461), (93.615, 93.204)),
    }.items()
    for label, settings, published in (
        ("COMQ, per layer", {"method": "comq", "granularity": "layer"}, layer),
        ("Permutation-COMQ, rows", {"method": "permutation-comq"}, ours),
    )
)
"""Table 2: one scale per layer against permuted units."""


def make_rows(
    model: MedSAM,
    variants: Sequence[Variant],
    calibration: CalibrationSet,
    test_sets: Mapping[str, Sequence[PromptedSlice]],
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> Iterator[Row]:
    """Quantize and score every variant on each test set; the float row last.

    Parameters
    ----------
    model : MedSAM
        Float.
    variants : sequence of Variant
    calibration : CalibrationSet
    test_sets : mapping of str to sequence of PromptedSlice
    progress : callable
        Called with rows done, rows in all, and the label of the next.
    """

    def scores(judged: MedSAM) -> dict[str, Scores]:
        return {name: score(judged, slices) for name, slices in test_sets.items()}

    sums = GramPass(quantizable_layers(model))
    sums.run(model, calibration.samples)
    ordered = sorted(variants, key=lambda v: v.settings["bit_width"])
    for done, variant in enumerate(ordered):
        bits = variant.settings["bit_width"]
        progress(done, len(ordered) + 1, f"{variant.label}, {bits} bit")
        settings = QuantizationSettings.of(**variant.settings)
        recipe = Recipe(settings=settings, overrides=(), damping=variant.damping)
        start = time.perf_counter()
        result = quantize_model(model, recipe, calibration, sums=sums)
        seconds = time.perf_counter() - start
        yield Row(
            bits,
            variant.label,
            result.effective_bits,
            result.stored_bytes / 1e6,
            scores(result.model),
            variant.published,
            seconds,
        )
    progress(len(ordered), len(ordered) + 1, "FP32")
    size = float_bytes(model.state_dict()) / 1e6
    yield Row(32, "FP32", 32.0, size, scores(model), FLOAT, 0.0)
