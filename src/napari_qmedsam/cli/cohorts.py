"""Many cases at once, for the commands segment and evaluate."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_qmedsam.cli import options, shared
from napari_qmedsam.errors import InvalidSettings

if TYPE_CHECKING:
    from napari_qmedsam.cohort.cases import Cohort
    from napari_qmedsam.cohort.executors import Executor
    from napari_qmedsam.cohort.plan import Labelling, Plan, PlannedModel, Scoring
    from napari_qmedsam.cohort.results import CaseResult
    from napari_qmedsam.cohort.run_folder import RunFolder
    from napari_qmedsam.cohort.running import Progress
    from napari_qmedsam.evaluation.margins import Margins
    from napari_qmedsam.evaluation.variants import Variant
    from napari_qmedsam.quantization.whole_model import QuantizationProgress

RUN = Path("qmedsam-run")
"""Where a run goes unless told otherwise."""

MEMORY_GB = 4.0

THREADS = 1
"""Of each process, however many there are: so no voxel depends on their number."""

ONLY_MANY = {"run", "workers", "memory", "scheduler"}
"""Parameters that a single case has no use for."""

FAILED = 1
"""Exit status where some case failed and the others are done."""

LINE_SECONDS = 30
"""How often progress is told where no bar can be drawn."""


@dataclass(frozen=True)
class Machines:
    """Where and on what many cases are worked on, as the options say.

    Parameters
    ----------
    workers : int, optional
    memory_gb : float
    scheduler : str, optional
    """

    workers: int | None
    memory_gb: float
    scheduler: str | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Machines":
        """Take what the options of a command say."""
        return cls(given["workers"], given["memory"], given["scheduler"])

    @property
    def memory_bytes(self) -> int:
        """What a process may allocate."""
        return round(self.memory_gb * (1 << 30))

    def executor(self) -> "Executor":
        """Return what works on the cases."""
        from napari_qmedsam.cohort.executors import DaskCluster, LocalProcesses

        if self.scheduler is not None:
            return DaskCluster(self.scheduler)
        fit = max(1, _memory_of_machine() // self.memory_bytes)
        workers = self.workers or min(os.cpu_count() or 1, fit)
        return LocalProcesses(workers, self.memory_bytes)


def one_model(models: Sequence[str] | None) -> str:
    """Return the model of a single case.

    Raises
    ------
    InvalidSettings
        If several are named.
    """
    if models is not None and len(models) > 1:
        raise InvalidSettings("Several models are for many cases: give --images.")
    return models[0] if models else "auto"


def planned_models(given: Mapping[str, Any]) -> "list[PlannedModel]":
    """Read what ``--model`` and the options of the runtime name.

    Weights are downloaded if they are named and not here.
    """
    from dataclasses import replace

    from napari_qmedsam.checkpoints.arithmetic import Precision
    from napari_qmedsam.cohort.plan import PlannedModel
    from napari_qmedsam.evaluation.variants import variant_of

    planned = []
    for text in given["model"] or ["auto"]:
        name, model = shared.heading(text)
        model, sign, wanted = model.rpartition("@")
        if not sign or wanted not in list(Precision):
            model, wanted = f"{model}{sign}{wanted}", given["precision"]
        with shared.bar("Downloading weights") as advance:
            variant = variant_of(
                _absolute(model),
                name,
                backend=given["backend"],
                precision=wanted,
                device=given["device"],
                progress=_downloading(advance),
            )
        runtime = replace(variant.runtime, threads=THREADS)
        planned.append(PlannedModel.of(replace(variant, runtime=runtime)))
    return planned


def quantized_models(
    source: "Variant", widths: Sequence[int], folder: Path
) -> "list[PlannedModel]":
    """Quantize a model to several bit-widths, each once, into a run's folder."""
    from dataclasses import replace

    from napari_qmedsam.cohort.plan import PlannedModel
    from napari_qmedsam.evaluation.variants import variant_of
    from napari_qmedsam.workflows import quantize

    if not source.is_float:
        name = source.name
        raise InvalidSettings(f"--bits quantizes a float model; '{name}' is none.")
    shared.make_folder(folder)
    planned = []
    for width in widths:
        name = f"{source.architecture}-{width}bit.qmedsam.safetensors"
        path = folder.absolute() / name
        if not path.exists():
            with shared.bar(f"Quantizing to {width} bits") as advance:
                quantize(source.model, path, bits=width, progress=_quantizing(advance))
        made = variant_of(str(path), f"{source.name} {width}-bit")
        planned.append(PlannedModel.of(replace(made, runtime=source.runtime)))
    return planned


def plan_of(
    given: Mapping[str, Any],
    models: "Sequence[PlannedModel]",
    task: "Scoring | Labelling",
    machines: Machines,
) -> "Plan":
    """Return what is done with every case."""
    from napari_qmedsam.cohort.plan import Plan
    from napari_qmedsam.volumes.windows import parse_window

    follow, window = (
        options.parse_follow(given["follow"]),
        parse_window(given["window"]),
    )
    # A quarter for embeddings leaves room for the volume, the model and its work.
    room = min(1 << 30, machines.memory_bytes // 4)
    return Plan(tuple(models), task, window, follow, given["max_boxes"], room)


def run(
    plan: "Plan", cohort: "Cohort", folder: "RunFolder", machines: Machines
) -> "list[CaseResult]":
    """Work on all cases, and say what failed."""
    from napari_qmedsam.cohort.running import run_cohort
    from napari_qmedsam.cohort.tables import remark_cells
    from napari_qmedsam.evaluation.tables import save_table

    shared.check_folder_target(folder.path)
    shared.notices(cohort.notices)
    with _told() as tell:
        results = run_cohort(plan, cohort.cases, folder, machines.executor(), tell)
    failures = [result for result in results if result.error]
    for result in failures:
        typer.echo(f"Failed: {result.case}: {result.error}", err=True)
    path = save_table(remark_cells(results), folder.path / "remarks.csv")
    noted = sum(bool(result.notices) for result in results)
    if noted:
        shared.notices((f"Readers had something to say of {noted} cases: {path}",))
    return results


def say_verdict(
    folder: "RunFolder",
    results: "Sequence[CaseResult]",
    margins: "Margins",
    against: str | None,
) -> None:
    """Print whether fewer bits are enough, and write it as a table."""
    from napari_qmedsam.cohort.verdicts import judge_run
    from napari_qmedsam.evaluation.noninferiority import verdict_cells
    from napari_qmedsam.evaluation.tables import save_table

    said = judge_run(folder.content()["models"], results, margins, against)
    if said.notice:
        typer.echo(f"Note: {said.notice}", err=True)
    if not said.verdicts:
        return
    save_table(verdict_cells(said.verdicts), folder.path / "verdict.csv")
    console = shared.console()
    for verdict in said.verdicts:
        console.print(verdict.text, soft_wrap=True)
    if said.fewest_bits is not None:
        console.print(f"Fewest bits that are enough: '{said.fewest_bits.variant}'.")
    if said.fastest is not None:
        console.print(f"Fastest that is enough: '{said.fastest.variant}'.")


def end(results: "Sequence[CaseResult]") -> None:
    """End with the exit status of cases that failed, if any did."""
    if any(result.error for result in results):
        raise typer.Exit(FAILED)


# Helpers ------------------------------------------------------------------


@contextmanager
def _told() -> "Iterator[Callable[[Progress], None]]":
    """Tell progress: a bar with the time left, or a line now and then."""
    last = [-float(LINE_SECONDS)]
    with shared.bar("Cases") as advance:

        def tell(step: "Progress") -> None:
            failed = f", {step.failed} failed" if step.failed else ""
            advance(step.done, step.total, f"Cases{failed}")
            is_due = time.monotonic() - last[0] >= LINE_SECONDS
            if not sys.stderr.isatty() and (is_due or step.done == step.total):
                last[0] = time.monotonic()
                typer.echo(step.text, err=True)

        yield tell


def _downloading(advance: Callable[..., None]) -> Callable[[int, int | None], None]:
    return lambda done, total: advance(done, total or done)


def _quantizing(
    advance: Callable[..., None],
) -> "Callable[[QuantizationProgress], None]":
    return lambda step: advance(step.done, step.total)


def _absolute(model: str) -> str:
    """Return the whole path of a file, for workers that run elsewhere."""
    path = Path(model)
    return str(path.resolve()) if path.exists() else model


def _memory_of_machine() -> int:
    """Return the bytes of memory; a generous guess where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 64 << 30
