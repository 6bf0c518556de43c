"""Measured figures as tables, JSON and a picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_qmedsam.benchmark.cases import REP_MEDSAM, CaseFigures, PublishedCase
from napari_qmedsam.benchmark.machine import Machine
from napari_qmedsam.benchmark.setups import BOXES, Setup, SetupFigures
from napari_qmedsam.disk import atomic_write, write_text

SETUP_HEADINGS = (
    "model",
    "backend",
    "precision",
    "threads",
    "torch fp32 / it",
    "encoder ms",
    "CPU ms",
    "of peak %",
    "first box ms",
    *(f"{n} box{'es' if n > 1 else ''} ms" for n in BOXES),
    "cold s",
    "warm s",
    "peak MB",
)

CASE_HEADINGS = (
    "case",
    "size",
    "objects",
    "first way s",
    "ours s",
    "ratio",
    "peak MB",
    "QMedSAM s, before and after",
    "Rep-MedSAM s",
)

Measured = Sequence[tuple[Setup, SetupFigures]]
CaseRow = tuple[PublishedCase, CaseFigures | None, CaseFigures]


def setup_rows(
    measured: Measured, peaks: Mapping[tuple[int, str], float]
) -> list[list[str]]:
    """Return the rows of the table of setups.

    Parameters
    ----------
    measured : sequence of (Setup, SetupFigures)
    peaks : mapping of float
        Peak of matrix products by threads and precision, in 1e9 a second.
    """
    torch_ms = {
        (setup.model, setup.runtime.threads): figures.encode_ms
        for setup, figures in measured
        if (setup.runtime.backend, figures.precision) == ("torch", "fp32")
    }
    rows = []
    for setup, figures in measured:
        threads = setup.runtime.threads
        against = torch_ms.get((setup.model, threads))
        peak = peaks.get((threads, figures.precision))
        rate = figures.gflop / figures.encode_ms * 1000
        rows.append(
            [
                setup.model + (" (random weights)" if setup.random else ""),
                f"{setup.runtime.backend} on {figures.device}",
                figures.precision,
                str(threads or "all"),
                "" if against is None else f"{against / figures.encode_ms:.2f}",
                f"{figures.encode_ms:.0f}",
                f"{figures.encode_cpu_ms:.0f}",
                "" if peak is None else f"{100 * rate / peak:.0f}",
                f"{figures.prepare_ms + figures.decode_ms[1]:.0f}",
                *(f"{figures.decode_ms[n]:.0f}" for n in BOXES),
                f"{figures.cold_s:.1f}",
                f"{figures.warm_s:.1f}",
                f"{figures.peak_mb:.0f}",
            ]
        )
    return rows


def case_rows(cases: Sequence[CaseRow]) -> list[list[str]]:
    """Return the rows of the table of cases; a star marks what was reckoned."""
    rows = []
    for case, first, ours in cases:
        before = "memory" if case.baseline_s is None else f"{case.baseline_s}"
        rows.append(
            [
                case.name,
                " x ".join(map(str, case.shape)),
                str(case.objects),
                "" if first is None else _seconds(first),
                _seconds(ours),
                "" if first is None else f"{first.seconds / ours.seconds:.1f}",
                f"{ours.peak_mb:.0f}",
                f"{before}, {case.proposed_s}",
                str(REP_MEDSAM.get(case.name, "")),
            ]
        )
    return rows


def markdown_of(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all but the first three columns stand to the right."""
    ruler = ["---" if i < 3 else "---:" for i in range(len(headings))]
    lines = [headings, ruler, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_figures(
    folder: Path,
    machine: Machine,
    text: str,
    measured: Measured,
    cases: Sequence[CaseRow],
    peaks: Mapping[tuple[int, str], float],
) -> None:
    """Write ``bench.json``, ``bench.md`` and ``bench.png`` into a folder."""
    write_text(folder / "bench.md", text)
    found = as_json(machine, measured, cases, peaks)
    write_text(folder / "bench.json", json.dumps(found, indent=1))
    if measured:
        _draw(measured, folder / "bench.png")


def as_json(
    machine: Machine,
    measured: Measured,
    cases: Sequence[CaseRow],
    peaks: Mapping[tuple[int, str], float],
) -> dict[str, Any]:
    """Return everything that was measured, for files."""
    return {
        "machine": asdict(machine),
        "peak_gflops": [
            {"threads": threads, "precision": precision, "gflops": peak}
            for (threads, precision), peak in peaks.items()
        ],
        "setups": [asdict(setup) | asdict(figures) for setup, figures in measured],
        "cases": [
            asdict(case) | {"first_way": first and asdict(first), "ours": asdict(ours)}
            for case, first, ours in cases
        ],
    }


def _seconds(figures: CaseFigures) -> str:
    return f"{figures.seconds:.1f}{'*' if figures.is_sampled else ''}"


def _draw(measured: Measured, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + 0.4 * len(measured)), dpi=110, layout="constrained")
    axes = figure.subplots()
    names = [
        f"{setup} ({figures.precision}), {setup.runtime.threads or 'all'} threads"
        for setup, figures in measured
    ]
    times = [figures.encode_ms for _, figures in measured]
    axes.barh(range(len(names)), times, color="#3b75af")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("ms per encoding")
    for i, value in enumerate(times):
        axes.text(value, i, f" {value:.0f}", va="center")
    axes.set_xlim(right=2 * max(times))  # room for the longest bar's number
    with atomic_write(path) as part:
        figure.savefig(part, format="png")
