"""Tables 1 and 2 of the paper, and a table of what else there is.

Methods and units against bit-width.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper import graphs
from paper.measured import Measured, measured
from paper.paired import Difference, difference
from paper.scored_slices import Graphs, Judged, object_scores

from napari_qmedsam.checkpoints.packed.model_file import SUFFIX, float_bytes
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.datasets.calibration import CalibrationSet
from napari_qmedsam.evaluation.prompted_slices import PromptedSlice
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.quantization.calibration import GramPass
from napari_qmedsam.quantization.model_card import quantized_card
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
    """One row made; `scores` and `differences` to FP32 are by test set.

    `measured` is None where nothing was timed, `activation_bits` 32 where
    activations stay float.
    """

    bits: int
    method: str
    effective_bits: float
    megabytes: float
    scores: Mapping[str, Scores]
    published: Published
    seconds: float
    differences: Mapping[str, Difference]
    activation_bits: int = 32
    measured: Measured | None = None


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


METHODS: tuple[Variant, ...] = tuple(
    Variant(label, {"bit_width": bits, **settings})
    for bits in (2, 4)
    for label, settings in (
        *(
            (f"{name}, groups of {size}", {"method": method, **group})
            for name, method in (("RTN", "rtn"), ("COMQ", "comq"))
            for size in (128, 64, 32)
            for group in ({"granularity": f"group:{size}"},)
        ),
        ("Permutation-COMQ, rows", {"method": "permutation-comq"}),
        ("GPTQ, then COMQ, rows", {"method": "gptq-comq"}),
        ("HQQ, groups of 32", {"method": "hqq", "granularity": "group:32"}),
        ("GPTQ, per channel", {"method": "gptq"}),
        ("GPTQ, groups of 32", {"method": "gptq", "granularity": "group:32"}),
        (
            "GPTQ, groups of 32, inputs as they are",
            {"method": "gptq", "granularity": "group:32", "order": "natural"},
        ),
    )
)
"""What else could be done at 2 and 4 bits: is it groups or permutation that helps?"""

GRAPHS = ("nncf-int8", "nncf-int4")
"""Rows that NNCF makes, on OpenVINO graphs."""


def make_rows(
    source: ModelSource,
    variants: Sequence[Variant],
    calibration: CalibrationSet,
    test_sets: Mapping[str, Sequence[PromptedSlice]],
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
    *,
    with_graphs: bool = False,
    is_timed: bool = False,
) -> Iterator[Row]:
    """Quantize and score every variant on each test set; the float row last.

    Parameters
    ----------
    source : ModelSource
        Float.
    variants : sequence of Variant
    calibration : CalibrationSet
    test_sets : mapping of str to sequence of PromptedSlice
    progress : callable
        Called with rows done, rows in all, and the label of the next.
    with_graphs : bool
        Also those of NNCF.
    is_timed : bool
        Also memory and time in OpenVINO, which need a quiet machine.
    """
    model = source.build()

    def scored(judged: Judged) -> dict[str, list[list[Scores]]]:
        return {name: object_scores(judged, items) for name, items in test_sets.items()}

    base = scored(model)

    def outcome(judged: Judged) -> dict[str, dict]:
        found = base if judged is model else scored(judged)
        return {
            "scores": {
                name: Scores.mean(s for item in of for s in item)
                for name, of in found.items()
            },
            "differences": {
                name: difference(test_sets[name], of, base[name])
                for name, of in found.items()
            },
        }

    sums = GramPass(quantizable_layers(model))
    sums.run(model, calibration.samples)
    ordered = sorted(variants, key=lambda v: v.settings["bit_width"])
    total = len(ordered) + len(GRAPHS) * with_graphs + 1
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        for done, variant in enumerate(ordered):
            bits = variant.settings["bit_width"]
            progress(done, total, f"{variant.label}, {bits} bit")
            settings = QuantizationSettings.of(**variant.settings)
            recipe = Recipe(settings=settings, overrides=(), damping=variant.damping)
            start = time.perf_counter()
            result = quantize_model(model, recipe, calibration, sums=sums)
            seconds = time.perf_counter() - start
            timed = None
            if is_timed:
                path = Path(scratch) / f"variant{SUFFIX}"
                card = quantized_card(result, source, result.sequential)
                save_model(result.model, path, card, result.weights)
                timed = measured(path, cache)
            yield Row(
                bits=bits,
                method=variant.label,
                effective_bits=result.effective_bits,
                megabytes=result.stored_bytes / 1e6,
                published=variant.published,
                seconds=seconds,
                measured=timed,
                **outcome(result.model),
            )
        for done, name in enumerate(GRAPHS[: len(GRAPHS) * with_graphs], len(ordered)):
            progress(done, total, name)
            made = graphs.make(name, source, calibration, Path(scratch) / name)
            yield Row(
                bits=made.bits,
                method=made.label,
                effective_bits=made.effective_bits,
                megabytes=made.megabytes,
                published=None,
                seconds=made.seconds,
                activation_bits=made.activation_bits,
                measured=measured(made.folder, cache) if is_timed else None,
                **outcome(Graphs(made.backend())),
            )
        progress(total - 1, total, "FP32")
        timed = None
        if is_timed:
            timed = measured(
                save_model(model, Path(scratch) / "float.safetensors"), cache
            )
        yield Row(
            bits=32,
            method="FP32",
            effective_bits=32.0,
            megabytes=float_bytes(model.state_dict()) / 1e6,
            published=FLOAT,
            seconds=0.0,
            measured=timed,
            **outcome(model),
        )
