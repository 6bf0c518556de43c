"""Several runs over the same cases, read as one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_qmedsam.cohort.results import CaseResult
from napari_qmedsam.cohort.run_folder import RunFolder
from napari_qmedsam.errors import InvalidSettings


@dataclass(frozen=True)
class MergedRuns:
    """What one or more runs found.

    Parameters
    ----------
    plan : dict
        What was done with every case, without the models.
    models : tuple of dict
        Descriptions of all models, those of the first run first.
    results : tuple of CaseResult
        By name; each with all models that have one.
    provenance : tuple of dict
        Versions and machine of each run.
    folders : dict of str to RunFolder
        Where each model's pictures are.
    """

    plan: dict[str, Any]
    models: tuple[dict[str, Any], ...]
    results: tuple[CaseResult, ...]
    provenance: tuple[dict[str, Any], ...]
    folders: dict[str, RunFolder]

    @property
    def numbers(self) -> dict[str, int]:
        """Number of each case, from 1: what reports call it in place of its name."""
        return {result.case: n for n, result in enumerate(self.results, 1)}

    def picture(self, case: str, model: str) -> bytes | None:
        """Return the picture (PNG) of a model's worst object of a case, if kept."""
        path = self.folders[model].picture(case, model)
        return path.read_bytes() if path.is_file() else None


def read_runs(paths: Sequence[Path]) -> MergedRuns:
    """Read the folders of scored runs, finished or not.

    Raises
    ------
    InvalidSettings
        If one is no run, scored nothing, or they do not go together: other
        settings, other files by the same name, two models by one name.
    """
    runs = [RunFolder(path) for path in paths]
    contents = [run.content() for run in runs]
    plans = [
        {key: value for key, value in content["plan"].items() if key != "models"}
        for content in contents
    ]
    for path, plan in zip(paths, plans, strict=True):
        if plan["task"]["kind"] != "scoring":
            raise InvalidSettings(
                f"The run in '{path}' wrote labels and scored nothing. Reports are "
                "made of `qmedsam evaluate --images`."
            )
        if plan != plans[0]:
            raise InvalidSettings(
                f"The runs in '{paths[0]}' and '{path}' were made with other "
                f"settings: {json.dumps(plans[0])} and {json.dumps(plan)}."
            )
    models: dict[str, dict[str, Any]] = {}
    folders: dict[str, RunFolder] = {}
    found: dict[str, CaseResult] = {}
    for path, run, content in zip(paths, runs, contents, strict=True):
        for model in content["models"]:
            name = model["name"]
            if models.setdefault(name, model) != model:
                raise InvalidSettings(
                    f"'{name}' in '{path}' is another model than in the runs before "
                    "it. Give one of them another name and run it again."
                )
            folders.setdefault(name, run)
        for result in run.results():
            known = found.get(result.case)
            found[result.case] = _joined(known, result, path)
    results = tuple(found[name] for name in sorted(found))
    if not any(result.models for result in results):
        raise InvalidSettings(f"No case of '{paths[0]}' has scores yet.")
    made = tuple(content["provenance"] for content in contents)
    return MergedRuns(plans[0], tuple(models.values()), results, made, folders)


def _joined(known: CaseResult | None, new: CaseResult, path: Path) -> CaseResult:
    if known is None or known.error:
        return new
    if new.error:
        return known
    if known.inputs != new.inputs:
        raise InvalidSettings(
            f"Case '{new.case}' of '{path}' was made of other files than in the runs "
            "before it. Run it again."
        )
    names = {model.model for model in known.models}
    more = tuple(model for model in new.models if model.model not in names)
    return replace(known, models=known.models + more)
