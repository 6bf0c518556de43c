"""One picture per case: image, box, prediction and reference side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.prompts import Box2D

PREDICTION, REFERENCE, BOX = "#ff8c1a", "#35c9ff", "#ffe14d"
"""Colours that stay apart for colour-blind eyes on grey images."""


@dataclass(frozen=True)
class SheetRow:
    """One object on one slice.

    Parameters
    ----------
    title : str
    image : ndarray, (Y, X) uint8
    box : Box2D
    prediction, reference : ndarray, (Y, X) bool
    aspect : float
        Height over width of a pixel, in mm.
    """

    title: str
    image: NDArray[np.uint8]
    box: Box2D
    prediction: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    aspect: float = 1.0


def write_contact_sheet(rows: Sequence[SheetRow], path: Path, title: str) -> Path:
    """Draw the rows and save them as PNG.

    Two objects share a line: for each, the box on the image, then both
    outlines, prediction solid and reference dashed.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    lines = (len(rows) + 1) // 2
    figure = Figure(figsize=(12.8, 3.1 * lines + 0.9), dpi=100, facecolor="#16181d")
    axes = figure.subplots(lines, 4, squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    for index, row in enumerate(rows):
        line, column = divmod(index, 2)
        left, right = axes[line][2 * column], axes[line][2 * column + 1]
        for panel in (left, right):
            panel.imshow(row.image, cmap="gray", vmin=0, vmax=255, aspect=row.aspect)
        corner = (row.box.x_min - 0.5, row.box.y_min - 0.5)
        size = (row.box.x_max - row.box.x_min, row.box.y_max - row.box.y_min)
        left.add_patch(Rectangle(corner, *size, fill=False, ec=BOX, lw=1.6))
        left.set_title(row.title, color="white", fontsize=9.5, loc="left")
        for mask, colour, style in (
            (row.reference, REFERENCE, "dashed"),
            (row.prediction, PREDICTION, "solid"),
        ):
            if mask.any():
                right.contour(
                    mask, levels=[0.5], colors=colour, linewidths=1.5, linestyles=style
                )
    figure.suptitle(title, color="white", fontsize=13, x=0.02, ha="left")
    figure.legend(
        handles=[
            Line2D([], [], color=BOX, label="box"),
            Line2D([], [], color=PREDICTION, label="prediction"),
            Line2D([], [], color=REFERENCE, ls="dashed", label="reference"),
        ],
        loc="upper right",
        ncols=3,
        frameon=False,
        labelcolor="white",
    )
    figure.subplots_adjust(
        left=0.01,
        right=0.99,
        bottom=0.01,
        top=1 - 0.85 / (3.1 * lines + 0.9),
        wspace=0.03,
        hspace=0.12,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor=figure.get_facecolor())
    return path
