"""One quantization from start to file, as a command or a button asks for it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.arithmetic import Arithmetic
from napari_qmedsam.checkpoints.packed.model_file import SUFFIX
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.datasets.calibration import CalibrationSet
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.memory import freed_memory_kept
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.quantization.allocation import recipe_for_budget
from napari_qmedsam.quantization.calibration import GramPass
from napari_qmedsam.quantization.model_card import quantized_card
from napari_qmedsam.quantization.model_layers import quantizable_layers
from napari_qmedsam.quantization.recipe import Override, Recipe
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.quantization.whole_model import (
    QuantizationProgress,
    QuantizedModel,
    quantize_model,
)

MOST_BITS = 16
"""More effective bits per weight than any layer takes."""

SLICES_PER_SAVE = 8
"""Calibration slices between two savings of their sums."""


@dataclass(frozen=True)
class Budget:
    """A size instead of a bit-width; exactly one of the two.

    Parameters
    ----------
    megabytes : float or None
        Of all the model's tensors.
    average_bits : float or None
        Effective bits per quantized weight.
    """

    megabytes: float | None = None
    average_bits: float | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.megabytes, self.average_bits) if v is not None]
        if len(given) != 1 or not given[0] > 0:
            raise InvalidSettings(
                "A budget is one number above 0: megabytes, or average bits."
            )
        if self.average_bits is not None and self.average_bits > MOST_BITS:
            raise InvalidSettings(
                f"{self.average_bits:g} bits per weight are no budget: 8 bits with "
                f"their scales take less than {MOST_BITS}."
            )


def default_target(
    model: str,
    settings: QuantizationSettings,
    budget: Budget | None = None,
    recipe: str = "",
) -> Path:
    """Return what a model's file is called in the current folder if nobody says.

    It is called after what decides its bits.

    Parameters
    ----------
    model : str
        A name or a weights file.
    settings : QuantizationSettings
    budget : Budget, optional
    recipe : str
        Name of the recipe's file, without its ending, if there is one.
    """
    bits = f"{settings.method}-{settings.bit_width}bit"
    if budget is not None and budget.average_bits is not None:
        bits = f"{settings.method}-{budget.average_bits:g}bit"
    elif budget is not None:
        bits = f"{settings.method}-{budget.megabytes:g}MB"
    elif recipe:
        bits = recipe
    return Path(f"{Path(model).name.split('.')[0]}-{bits}{SUFFIX}")


@dataclass(frozen=True, eq=False)
class QuantizationJob:
    """What is to be quantized, and how.

    Parameters
    ----------
    source : ModelSource
        Float.
    settings : QuantizationSettings
    calibration : CalibrationPlan
    budget : Budget or None
        Chooses the bits of each layer; the settings' own are not used then.
    sequential : bool, optional
        Calibrate each block on the already quantized ones before it. Default: up to
        3 bits, unless sums are kept.
    overrides : tuple of Override
        Exceptions by layer; not with a budget.
    damping : float or None
        As in :class:`~napari_qmedsam.quantization.recipe.Recipe`.
    sums : Path or None
        A file that keeps the sums of the calibration: a run that was stopped goes
        on from it, and another recipe need not calibrate again. Not if sequential.

    Raises
    ------
    InvalidSettings
        If two of these do not go together.
    """

    source: ModelSource
    settings: QuantizationSettings
    calibration: CalibrationPlan
    budget: Budget | None = None
    sequential: bool | None = None
    overrides: tuple[Override, ...] = ()
    damping: float | None = None
    sums: Path | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and self.overrides:
            raise InvalidSettings(
                "A budget chooses bits itself: use no recipe with it."
            )
        if self.sums is not None and self.sequential:
            raise InvalidSettings(
                "Sums can be kept of the float model's inputs only, not of a "
                "sequential calibration's."
            )

    @freed_memory_kept()
    def run(
        self,
        target: Path,
        progress: Callable[[QuantizationProgress], None] = lambda step: None,
    ) -> QuantizedModel:
        """Quantize and write the model file.

        Parameters
        ----------
        target : Path
            Ends in ``.qmedsam.safetensors``.
        progress : callable
            Called after every calibration slice, measured layer and
            quantized layer; the count starts over for each
            of the parts.

        Raises
        ------
        Cancelled
            If the work is not wanted any more; nothing but the sums is written.
        BadCheckpoint
            If the sums are those of another model or other slices.
        InvalidSettings
            If the name ends otherwise.
        UnsupportedQuantization
            If the model is quantized already, or the budget too small.
        """
        if not target.name.endswith(SUFFIX):
            raise InvalidSettings(f"The output '{target.name}' must end in {SUFFIX}.")
        if self.source.arithmetic is not Arithmetic.FLOAT:
            raise InvalidSettings(
                f"'{self.source.path.name}' is quantized already. Start from the "
                "float model."
            )
        samples = self.calibration.samples(self.source.config)
        check_cancelled("Quantization stopped before the first layer.")
        recipe = Recipe(
            settings=self.settings, overrides=self.overrides, damping=self.damping
        )
        model, sums = self.source.build(), None
        is_sequential = self.sequential
        if is_sequential is None:
            is_sequential = recipe.sequential
        # With a budget, one calibration serves the measuring and the quantizing.
        if self.sums is not None or (self.budget is not None and not is_sequential):
            sums = self._summed(model, samples, progress)
        if self.budget is not None:
            recipe = self._recipe(self.budget, model, samples, sums, progress)
        result = quantize_model(
            model,
            recipe,
            samples,
            sequential=self.sequential,
            sums=sums,
            progress=progress,
        )
        card = quantized_card(result, self.source, result.sequential)
        save_model(result.model, target, card, result.weights)
        return result

    def _recipe(
        self,
        budget: Budget,
        model: MedSAM,
        samples: CalibrationSet,
        sums: GramPass | None,
        progress: Callable[[QuantizationProgress], None],
    ) -> Recipe:
        megabytes = budget.megabytes
        return recipe_for_budget(
            model,
            self.settings,
            samples,
            average_bits=budget.average_bits,
            total_bytes=None if megabytes is None else int(megabytes * 1e6),
            damping=self.damping,
            sums=sums,
            progress=lambda done, total, name: progress(
                QuantizationProgress(done, total, f"measuring {name}")
            ),
        )

    def _summed(
        self,
        model: MedSAM,
        samples: CalibrationSet,
        progress: Callable[[QuantizationProgress], None],
    ) -> GramPass:
        """Sum the float model's inputs; kept as it goes, if a file is named."""
        path = self.sums
        key = json.dumps([self.source.sha256, samples.provenance])
        gram_pass = GramPass(quantizable_layers(model))
        if path is not None and path.exists():
            gram_pass.resume(path, key)

        def seen(done: int, total: int) -> None:
            # Between slices only: an interrupt may come amid the sums of one.
            if path is not None and (done == total or done % SLICES_PER_SAVE == 0):
                gram_pass.save(path, key)
            progress(QuantizationProgress(done, total, "calibration"))

        gram_pass.run(model, samples.samples, seen, is_resumable=path is not None)
        return gram_pass
