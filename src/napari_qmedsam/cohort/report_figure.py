"""The figure of a report: every patient under every model, and what was lost."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.cohort.summary import CohortScores
from napari_qmedsam.evaluation.intervals import Interval, bootstrap_mean
from napari_qmedsam.evaluation.margins import Margins
from napari_qmedsam.evaluation.noninferiority import PairedScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCORES = ("dsc", "nsd")

POINTS, MEAN, MARGIN = "#7a8ba3", "#0b5cad", "#c4421a"
"""Colours that stay apart for colour-blind eyes, and in print."""


def draw_scores(
    scores: CohortScores, pairs: Sequence[PairedScores], margins: Margins
) -> "Figure":
    """Draw DSC and NSD of all patients, and the differences of those in pairs.

    Parameters
    ----------
    scores : CohortScores
    pairs : sequence of PairedScores
        None leaves the lower half out.
    margins : Margins
        Drawn as lines below which a mean difference is too much.
    """
    from matplotlib.figure import Figure

    rows = 2 if pairs else 1
    width = max(8.0, 2.2 + 1.9 * len(scores.models))
    figure = Figure(figsize=(width, 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    for column, name in enumerate(SCORES):
        panel = axes[0][column]
        values = [
            np.array([s.shown()[name] for s in scores.by_patient(model).values()])
            for model in scores.models
        ]
        _points(panel, values, scores.models)
        panel.set_ylabel(f"{name.upper()} %")
        if not pairs:
            continue
        panel = axes[1][column]
        panel.axhline(0, color="#444444", linewidth=0.8)
        margin = -getattr(margins, name)
        panel.axhline(margin, color=MARGIN, linestyle="dashed", label="margin")
        differences = [np.array(getattr(pair, name)) for pair in pairs]
        _points(panel, differences, [pair.variant for pair in pairs])
        panel.set_ylabel(f"{name.upper()}, difference in points")
        panel.legend(frameon=False)
    return figure


def png(figure: "Figure") -> bytes:
    """Return a figure as PNG."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150, metadata={"Software": None})
    return drawn.getvalue()


def svg(figure: "Figure") -> bytes:
    """Return a figure as SVG, the same bytes each time."""
    import matplotlib as mpl

    drawn = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "napari-qmedsam"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()


def _points(panel: "Axes", values: Sequence[NDArray], names: Sequence[str]) -> None:
    """Draw a dot for each patient and the mean with its interval, a column each."""
    for place, each in enumerate(values):
        known = each[np.isfinite(each)]
        # Spread by rank, so that equal values are seen and no chance is in it.
        spread = 0.25 * np.sin(2.4 * np.arange(len(known)))
        panel.plot(place + spread, np.sort(known), "o", color=POINTS, ms=3, alpha=0.7)
        found: Interval = bootstrap_mean(known)
        if found.count:
            low = 0 if np.isnan(found.lower) else found.mean - found.lower
            high = 0 if np.isnan(found.upper) else found.upper - found.mean
            panel.errorbar(
                place, found.mean, yerr=[[low], [high]], fmt="s", color=MEAN, capsize=4
            )
    panel.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    panel.set_xlim(-0.6, len(names) - 0.4)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", alpha=0.25)
