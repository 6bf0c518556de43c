"""A cohort from its first case to its table; goes on where it was stopped."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from napari_qmedsam.cohort.cases import Case
from napari_qmedsam.cohort.executors import Executor
from napari_qmedsam.cohort.plan import Labelling, Plan
from napari_qmedsam.cohort.results import CaseResult
from napari_qmedsam.cohort.run_folder import RunFolder
from napari_qmedsam.cohort.work import Finished, run_case


@dataclass(frozen=True)
class Progress:
    """How far a cohort is.

    Parameters
    ----------
    done, total : int
        Cases, those of an earlier go included.
    failed : int
    seconds_left : float or None
        By the pace of this go; None before its first case.
    """

    done: int
    total: int
    failed: int
    seconds_left: float | None

    @property
    def text(self) -> str:
        """All of it, in a line."""
        said = f"{self.done} of {self.total} cases"
        if self.failed:
            said += f", {self.failed} failed"
        if self.seconds_left is None or self.done == self.total:
            return said
        minutes, seconds = divmod(round(self.seconds_left), 60)
        left = f"{minutes} min" if minutes >= 2 else f"{60 * minutes + seconds} s"
        return f"{said}, {left} left"


def run_cohort(
    plan: Plan,
    cases: Sequence[Case],
    folder: RunFolder,
    executor: Executor,
    progress: Callable[[Progress], None] = lambda step: None,
) -> list[CaseResult]:
    """Do with every case what the plan says, and keep what came of it.

    Cases that the folder holds already are not done again, unless their files have
    changed or they failed. A case that fails does not stop the others.

    Parameters
    ----------
    plan : Plan
    cases : sequence of Case
    folder : RunFolder
    executor : Executor
    progress : callable
        Called at the start and after each case.

    Returns
    -------
    list of CaseResult
        One for each case, in their order.

    Raises
    ------
    InvalidSettings
        If the folder holds another run, or the executor cannot be had.
    """
    with folder.opened(plan, cases):
        results = {
            name: result
            for name, result in folder.finished(cases).items()
            if _has_labels(plan, result)
        }
        left = [case for case in cases if case.name not in results]
        known, failed, start = len(results), 0, time.monotonic()
        progress(Progress(known, len(cases), 0, None))
        for outcome in executor.run(partial(run_case, plan), left):
            case = outcome.item
            done = outcome.value
            if done is None:
                broken = CaseResult(case.name, case.patient, error=outcome.error)
                done = Finished(broken, {})
            folder.keep(done)
            results[case.name] = done.result
            failed += bool(done.result.error)
            each = (time.monotonic() - start) / (len(results) - known)
            seconds = each * (len(cases) - len(results))
            progress(Progress(len(results), len(cases), failed, seconds))
    return [results[case.name] for case in cases]


def _has_labels(plan: Plan, result: CaseResult) -> bool:
    """Tell whether the labels that a case's result names are still there."""
    task = plan.task
    return not isinstance(task, Labelling) or all(
        (task.folder / model.labels).is_file() for model in result.models
    )
