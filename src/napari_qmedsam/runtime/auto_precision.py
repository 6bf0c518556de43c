"""The precision that `auto` stands for: measured, compared with fp32, and kept.

Each precision that the machine has encodes three slices. Of those whose masks are
the ones of fp32 the fastest is taken; the answer is kept for machine and model.
"""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from napari_qmedsam import disk
from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.errors import InvalidOutput
from napari_qmedsam.runtime.cache import cache_folder, cache_key
from napari_qmedsam.runtime.protocol import Backend
from napari_qmedsam.runtime.registry import Runtime
from napari_qmedsam.runtime.trials import LEAST_DSC, slices_for, try_out

WORTHWHILE = 0.9
"""Largest share of fp32's time at which masks are risked for speed."""


@dataclass(frozen=True)
class Trial:
    """How one precision did.

    Parameters
    ----------
    precision : Precision
    milliseconds : float
        An encoding.
    agreement : float
        Lowest mean DSC of a slice with the masks of fp32.
    """

    precision: Precision
    milliseconds: float
    agreement: float

    def __str__(self) -> str:
        return f"{self.precision} {self.milliseconds:.0f} ms, DSC {self.agreement:.4f}"


def tried(
    runtime: Runtime,
    forms: Mapping[Precision, ModelSource],
    load: Callable[[ModelSource, Runtime], Backend],
    notify: Callable[[str], None],
) -> tuple[Trial, ...]:
    """Return how each precision did, trying them the first time.

    Parameters
    ----------
    runtime : Runtime
        In fp32.
    forms : mapping of ModelSource
        What is loaded for each precision; fp32 is among them.
    load : callable
    notify : callable
        Called with a sentence before they are tried.

    Raises
    ------
    Cancelled
        If the work is not wanted any more; nothing is kept then.
    """
    kept = _place(runtime, forms)
    found = _read(kept)
    if found:
        return found
    plain = forms[Precision.FP32]
    if len(forms) > 1:
        notify(f"Trying '{plain.name}' in {', '.join(forms)} on this machine, once.")
    slices = slices_for(plain.config)
    first = try_out(load(plain, runtime), slices)
    trials = [Trial(Precision.FP32, first.milliseconds, 1.0)]
    for precision, source in forms.items():
        if precision is Precision.FP32:
            continue
        try:
            other = load(source, replace(runtime, precision=precision))
            outcome = try_out(other, slices)
        except InvalidOutput:  # it overflowed
            continue
        agreement = outcome.agreement(first)
        trials.append(Trial(precision, outcome.milliseconds, agreement))
    kept.parent.mkdir(parents=True, exist_ok=True)
    disk.write_text(kept, json.dumps([asdict(trial) for trial in trials]))
    return tuple(trials)


def fastest(trials: Sequence[Trial]) -> Trial:
    """Return the fastest that agrees, fp32 unless it is well faster."""
    plain = next(t for t in trials if t.precision is Precision.FP32)
    others = [
        trial
        for trial in trials
        if trial.agreement >= LEAST_DSC
        and trial.milliseconds <= WORTHWHILE * plain.milliseconds
    ]
    return min(others, key=lambda trial: trial.milliseconds, default=plain)


def reason(trials: Sequence[Trial], best: Trial) -> str:
    """Say what was chosen, and why."""
    if len(trials) == 1:
        return f"Precision {best.precision}: this machine and model have no other."
    shown = "; ".join(map(str, trials))
    return (
        f"Precision {best.precision}, the fastest with a DSC of {LEAST_DSC} and more "
        f"with the masks of fp32 ({shown})."
    )


def _place(runtime: Runtime, forms: Mapping[Precision, ModelSource]) -> Path:
    """Return the file of an answer: one for a machine, a runtime and a model."""
    parts = [f"{precision} {source.sha256}" for precision, source in forms.items()]
    machine = (platform.node(), platform.machine(), os.cpu_count())
    key = cache_key(*machine, runtime, *parts)
    return cache_folder() / "precision" / f"{key}.json"


def _read(path: Path) -> tuple[Trial, ...]:
    """Return what was kept; nothing where there is nothing whole."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = tuple(
            Trial(
                Precision(each["precision"]),
                float(each["milliseconds"]),
                float(each["agreement"]),
            )
            for each in kept
        )
    except (OSError, ValueError, TypeError, KeyError):
        return ()
    return found if any(t.precision is Precision.FP32 for t in found) else ()
