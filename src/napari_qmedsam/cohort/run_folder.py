"""The folder of a run: what it does, the cases that are finished, and their table."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from napari_qmedsam.cohort.cases import Case
from napari_qmedsam.cohort.plan import Plan
from napari_qmedsam.cohort.results import CaseResult
from napari_qmedsam.cohort.work import Finished, input_checksums, slug
from napari_qmedsam.disk import atomic_write, write_text
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.tables import Cells, csv_text
from napari_qmedsam.provenance import provenance

FORMAT, VERSION = "qmedsam-cohort-run", 1
"""Kind and version that the file of a run names."""

RUN_FILE, CASES, PICTURES = "run.json", "cases", "pictures"
LIST, LABELS, MODELS = "cases.csv", "labels", "models"
"""What lies in the folder of a run."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what it is and has done; every file whole or not there."""

    path: Path

    @contextmanager
    def opened(self, plan: Plan, cases: Sequence[Case]) -> Iterator[None]:
        """Begin a run, or go on with one; only one process at a time.

        `LIST` tells which case of a report is which, and stays here.

        Raises
        ------
        InvalidSettings
            If the folder holds another run, or somebody works in it.
        """
        for folder in (self.path, self.path / CASES, self.path / PICTURES):
            folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InvalidSettings(
                f"Another process works in '{self.path}'. Wait for it, or choose "
                "another folder."
            ) from error
        try:
            self._begin(plan)
            write_text(self.path / LIST, csv_text(_list_cells(cases)))
            yield
        finally:
            lock.release()

    def content(self) -> dict[str, Any]:
        """Return what the file of the run says.

        Raises
        ------
        InvalidSettings
            If there is none, or it is of a newer version.
        """
        try:
            content = json.loads((self.path / RUN_FILE).read_text(encoding="utf-8"))
            kind, number = content["format"], content["version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidSettings(
                f"'{self.path}' is no folder of a run: it has no whole {RUN_FILE}."
            ) from error
        if (kind, number) != (FORMAT, VERSION):
            raise InvalidSettings(
                f"The run in '{self.path}' is of the kind {kind}, version {number}; "
                f"this version of napari-qmedsam reads {FORMAT}, version {VERSION}."
            )
        return content

    def finished(self, cases: Sequence[Case]) -> dict[str, CaseResult]:
        """Return the results of cases that need not be done again.

        Those whose files have changed since, or that failed, are not among them.
        """
        found = {}
        for case in cases:
            result = self.read(case.name)
            if result is not None and _is_current(case, result):
                found[case.name] = result
        return found

    def read(self, name: str) -> CaseResult | None:
        """Return the result of a case; None without one."""
        try:
            text = self._case_file(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        return CaseResult.from_json(text)

    def keep(self, done: Finished) -> None:
        """Write what came of a case, its pictures first."""
        for model, png in done.pictures.items():
            path = self.picture(done.result.case, model)
            path.parent.mkdir(exist_ok=True)
            with atomic_write(path) as part:
                part.write_bytes(png)
        write_text(self._case_file(done.result.case), done.result.to_json())

    def picture(self, case: str, model: str) -> Path:
        """Return where the picture of a model's worst object of a case is."""
        return self.path / PICTURES / slug(model) / f"{case}.png"

    def results(self) -> list[CaseResult]:
        """Return what came of the cases of the run so far, in their order.

        Raises
        ------
        InvalidSettings
            If the list of its cases is gone.
        """
        try:
            text = (self.path / LIST).read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidSettings(
                f"'{self.path}' has no {LIST}: it is no whole run."
            ) from error
        names = [row["case"] for row in csv.DictReader(text.splitlines())]
        read = [self.read(name) for name in names]
        return [result for result in read if result is not None]

    def _case_file(self, name: str) -> Path:
        return self.path / CASES / f"{name}.json"

    def _begin(self, plan: Plan) -> None:
        identity = plan.identity
        if (self.path / RUN_FILE).exists():
            known = self.content()["plan"]
            for name, value in identity.items():
                if known.get(name) != value:
                    raise InvalidSettings(
                        f"'{self.path}' holds a run with another {name}: "
                        f"{json.dumps(known.get(name))}, and now "
                        f"{json.dumps(value)}. Choose another folder."
                    )
            return
        content = {
            "format": FORMAT,
            "version": VERSION,
            "plan": identity,
            "models": [model.description() for model in plan.models],
            "provenance": provenance(),
        }
        write_text(self.path / RUN_FILE, json.dumps(content, indent=1) + "\n")


def _list_cells(cases: Sequence[Case]) -> Cells:
    rows = [["number", "case", "patient", "image", "labels"]]
    for number, case in enumerate(cases, 1):
        labels = "" if case.labels is None else str(case.labels)
        rows.append([str(number), case.name, case.patient, str(case.image), labels])
    return rows


def _is_current(case: Case, result: CaseResult) -> bool:
    """Tell whether a case has a result, of the inputs that it has now."""
    if result.error or case.patient != result.patient:
        return False
    try:
        return input_checksums(case) == result.inputs
    except OSError:
        return False
