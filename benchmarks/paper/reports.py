"""Results as CSV, Markdown and pictures."""

import subprocess
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from paper.paired import Difference
from paper.simulation import BITS, METHODS, Simulation
from paper.tables import Row

import napari_qmedsam
from napari_qmedsam.evaluation.scores import headings
from napari_qmedsam.evaluation.tables import FORMATS, Cells, save_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#8c8c8c", "#3b7dd8", "#e07b1a", "#2a9d68", "#b14fc5")
"""Of methods, apart for colour-blind eyes."""

MARKERS = "osD^v"
"""A new one where there are more methods than colours."""

TICKS = (2, 3, 4, 6, 8, 12, 16)
"""Effective bits along the axis of Table 1 and 2, which is logarithmic."""


def made_by() -> str:
    """Return version and, in a git checkout, commit of the code that runs."""
    root = Path(__file__).parent
    version = f"napari-qmedsam {napari_qmedsam.__version__}"
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return version
    return f"{version}, commit {commit}"


def table_cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return a table as text, headings first; columns nobody filled are left out."""
    is_timed = any(row.measured is not None for row in rows)
    is_published = any(row.published for row in rows if row.bits < 32)
    titles = ["bits", "activations", "method", "effective bits", "MB"]
    if is_timed:
        titles += ["MB on disk", "MB resident", "ms per slice", "executed"]
    for name in rows[0].scores:
        titles += [f"{name} {title}" for title in headings()]
        titles += [f"{name} {title}" for title in Difference.headings()]
    if is_published:
        titles += ["paper DSC", "paper NSD"]
    cells = [[*titles, "s to quantize, calibrated"]]
    for row in rows:
        own = [str(row.bits), str(row.activation_bits), row.method]
        own += [f"{row.effective_bits:.2f}", f"{row.megabytes:.2f}"]
        if is_timed:
            own += _timed_cells(row)
        for name, scores in row.scores.items():
            own += scores.cells()
            own += [""] * 3 if row.bits == 32 else row.differences[name].cells()
        if is_published:
            own += [f"{v:.2f}" for v in row.published] if row.published else ["", ""]
        cells.append([*own, f"{row.seconds:.1f}"])
    return cells


def _timed_cells(row: Row) -> list[str]:
    if row.measured is None:
        return [""] * 4
    found = row.measured
    return [
        f"{found.disk:.1f}",
        f"{found.resident:.0f}",
        f"{found.milliseconds:.0f}",
        found.executed,
    ]


def simulation_cells(simulation: Simulation) -> list[list[str]]:
    """Return the simulation's figures as text, headings first."""
    quarters = ["smallest quarter", "second", "third", "largest quarter"]
    cells = [["bits", "method", "effective bits", "output error", *quarters]]
    for row in simulation.rows:
        errors = [f"{error:.2e}" for error in (row.output_error, *row.quartiles)]
        cells.append([str(row.bits), row.method, f"{row.effective_bits:.2f}", *errors])
    return cells


def write_table(cells: Cells, folder: Path, name: str, note: str) -> list[Path]:
    """Write ``name.csv`` and ``name.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    return [save_table(cells, folder / f"{name}{end}", note) for end in FORMATS]


def draw_table(rows: Sequence[Row], path: Path, title: str) -> Path:
    """DSC against effective bits, a panel per test set, a line per method."""
    from matplotlib.figure import Figure

    names = list(rows[0].scores)
    figure = Figure(figsize=(2 + 6 * len(names), 5), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _draw_scores(axes, rows, name)
    panels[0].legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(path)
    return path


def _draw_scores(axes: "Axes", rows: Sequence[Row], name: str) -> None:
    methods = list(dict.fromkeys(row.method for row in rows if row.bits < 32))
    for method, (marker, colour) in zip(
        methods, product(MARKERS, COLOURS), strict=False
    ):
        own = [row for row in rows if row.method == method]
        axes.plot(
            [row.effective_bits for row in own],
            [row.scores[name].shown()["dsc"] for row in own],
            f"{marker}-",
            color=colour,
            markersize=5,
            alpha=0.85,
            label=method,
        )
        for row in own:
            place = (row.effective_bits, row.scores[name].shown()["dsc"])
            axes.annotate(
                f"{row.bits}", place, (3, -11), textcoords="offset points", fontsize=8
            )
    for row in rows:
        if row.bits == 32:
            axes.axhline(
                row.scores[name].shown()["dsc"],
                color="black",
                lw=1,
                ls="dashed",
                label="FP32",
            )
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
    axes.minorticks_off()
    axes.set_xlabel("effective bits per weight (numbers: bits per code)")
    axes.set_ylabel("DSC, %")
    axes.set_title(name)
    axes.grid(alpha=0.3)


def draw_magnitudes(simulation: Simulation, path: Path) -> Path:
    """Figure 2 of the paper: how the magnitudes of the weights are spread."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.hist(np.abs(simulation.weight).ravel(), bins=60, color=COLOURS[1])
    axes.set_yscale("log")
    axes.set_xlabel("|W|")
    axes.set_ylabel("weights")
    axes.set_title("Magnitudes of the simulated weights")
    figure.savefig(path)
    return path


def draw_relative_errors(simulation: Simulation, path: Path) -> Path:
    """Figure 3 of the paper: relative error against magnitude, per bit-width."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.4), dpi=100, layout="constrained")
    panels = figure.subplots(1, len(BITS), sharey=True)
    magnitude = np.abs(simulation.weight).ravel()
    order = magnitude.argsort()
    for axes, bits in zip(panels, BITS, strict=True):
        for (name, _), colour in zip(METHODS.items(), COLOURS, strict=False):
            error = np.abs(simulation.errors[bits, name]).ravel()
            parts = np.array_split(order, 24)
            axes.plot(
                [np.median(magnitude[part]) for part in parts],
                [error[part].sum() / magnitude[part].sum() for part in parts],
                ".-",
                color=colour,
                label=name,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{bits} bits")
        axes.set_xlabel("|W|")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("relative error")
    panels[0].legend(fontsize=8)
    figure.savefig(path)
    return path
