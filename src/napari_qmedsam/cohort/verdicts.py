"""The verdict of a run: which models are compared with what, and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from napari_qmedsam.cohort.results import CaseResult
from napari_qmedsam.cohort.summary import CohortScores
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.margins import STANDARD, Margins
from napari_qmedsam.evaluation.noninferiority import Verdict, judge, smallest_sufficient


@dataclass(frozen=True)
class RunVerdict:
    """What can be said of all models of a run.

    Parameters
    ----------
    verdicts : tuple of Verdict
    fewest_bits, fastest : Verdict or None
        The cheapest of those that are enough.
    notice : str
        Why there is no verdict; empty where there is.
    """

    verdicts: tuple[Verdict, ...]
    fewest_bits: Verdict | None = None
    fastest: Verdict | None = None
    notice: str = ""


def references_of(
    models: Sequence[Mapping[str, Any]], against: str | None = None
) -> dict[str, str]:
    """Return which model each is compared with: the first float one of its kind.

    Parameters
    ----------
    models : sequence of mapping
        Descriptions, as a run's file has them.
    against : str, optional
        Name of the model that all are compared with instead.

    Raises
    ------
    InvalidSettings
        If there is no model of that name.
    """
    names = [model["name"] for model in models]
    if against is not None:
        if against not in names:
            raise InvalidSettings(
                f"No model is called '{against}'. There are {', '.join(names)}."
            )
        return {name: against for name in names if name != against}
    floats: dict[str, str] = {}
    for model in models:
        if model["is_float"]:
            floats.setdefault(model["architecture"], model["name"])
    found = {}
    for model in models:
        reference = floats.get(model["architecture"])
        if reference is not None and reference != model["name"]:
            found[model["name"]] = reference
    return found


def milliseconds(results: Sequence[CaseResult]) -> dict[str, float]:
    """Return the time for a slice of each model: the medians over cases, added."""
    encodings: dict[str, list[float]] = {}
    decodings: dict[str, list[float]] = {}
    for result in results:
        for model in result.models:
            if model.encode_ms is not None:
                encodings.setdefault(model.model, []).append(model.encode_ms)
            if model.decode_ms is not None:
                decodings.setdefault(model.model, []).append(model.decode_ms)
    return {
        name: median(encodings[name]) + median(times)
        for name, times in decodings.items()
        if name in encodings
    }


def judge_run(
    models: Sequence[Mapping[str, Any]],
    results: Sequence[CaseResult],
    margins: Margins = STANDARD,
    against: str | None = None,
) -> RunVerdict:
    """Say of every model of a run whether it is enough, and which is the smallest.

    Parameters
    ----------
    models : sequence of mapping
        Descriptions, as a run's file has them.
    results : sequence of CaseResult
    margins : Margins
    against : str, optional
        As for :func:`references_of`.

    Raises
    ------
    InvalidSettings
        As :func:`references_of`.
    """
    references = references_of(models, against)
    if not references:
        why = "There is no float model of the same kind to compare with."
        return RunVerdict((), notice=why if len(models) > 1 else "")
    verdicts = tuple(judge(CohortScores(results).paired(references), margins))
    bits = {model["name"]: float(model["effective_bits"]) for model in models}
    times = milliseconds(results)
    timed = [v for v in verdicts if v.variant in times]
    return RunVerdict(
        verdicts, smallest_sufficient(verdicts, bits), smallest_sufficient(timed, times)
    )
