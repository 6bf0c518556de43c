"""A small picture of one object: the slice around it, mask and reference outlined."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.evaluation.contact_sheet import PREDICTION, REFERENCE
from napari_qmedsam.preprocessing import slice_image
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

MARGIN = 0.4
"""How much is shown around an object, of its own size, and at least 8 pixels."""


@dataclass(frozen=True, eq=False)
class Picture:
    """What a mask got wrong on one slice; drawn when it is asked for.

    Nothing is written in it: no name, no date, no place in the patient.

    Parameters
    ----------
    volume : Volume
    slice_index : int
    window : Window, optional
    mask, truth : ndarray, (Y, X) bool
    """

    volume: Volume
    slice_index: int
    window: Window | None
    mask: NDArray[np.bool_]
    truth: NDArray[np.bool_]

    def png(self) -> bytes:
        """Draw it."""
        from matplotlib.figure import Figure

        rows, columns = self._around()
        window = self.volume.window_or_default(self.window)
        image = slice_image(self.volume.array, self.slice_index, window)
        aspect = self.volume.spacing_mm[1] / self.volume.spacing_mm[2]
        figure = Figure(figsize=(2.4, 2.4), dpi=100, facecolor="black")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(image[rows, columns], cmap="gray", vmin=0, vmax=255, aspect=aspect)
        for mask, colour, style in (
            (self.truth, REFERENCE, "dashed"),
            (self.mask, PREDICTION, "solid"),
        ):
            part = mask[rows, columns]
            if part.any() and not part.all():
                axes.contour(
                    part, levels=[0.5], colors=colour, linewidths=1.3, linestyles=style
                )
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", metadata={"Software": None})
        return drawn.getvalue()

    def _around(self) -> tuple[slice, slice]:
        """Return the rows and columns that are shown."""
        either = self.mask | self.truth
        spans = []
        for axis in (1, 0):
            filled = np.flatnonzero(either.any(axis=axis))
            first, last = int(filled[0]), int(filled[-1]) + 1
            margin = max(8, round(MARGIN * (last - first)))
            spans.append(slice(max(0, first - margin), last + margin))
        return spans[0], spans[1]
