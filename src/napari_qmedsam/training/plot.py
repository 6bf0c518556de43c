"""The picture of a run: losses and validation scores over the steps."""

from pathlib import Path

from napari_qmedsam.disk import atomic_write
from napari_qmedsam.training.folder import Row

LOSSES = ("dice", "focal", "dense", "distillation")
"""Losses that are drawn if a run has them."""


def write_loss_plot(rows: list[Row], path: Path) -> Path:
    """Draw the log of a run as PNG; stages follow each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    losses, scores = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    offset, stage, last = 0, "", 0
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["stage"] != stage:
            offset, stage = last, str(row["stage"])
            for axes in (losses, scores):
                axes.axvline(offset, color="0.8", linewidth=1)
            losses.annotate(
                stage, (offset, 1), xycoords=("data", "axes fraction"), va="bottom"
            )
        last = offset + int(row["step"])
        for name in (*LOSSES, "dsc"):
            if name in row:
                curves.setdefault(name, []).append((last, float(row[name])))
    for name, points in curves.items():
        axes = scores if name == "dsc" else losses
        axes.plot(*zip(*points, strict=True), marker=".", label=name)
    losses.set_ylabel("loss")
    scores.set_ylabel("validation DSC, %")
    scores.set_xlabel("step")
    if curves:
        losses.legend()
    with atomic_write(path) as part:
        figure.savefig(part, format="png")
    return path
