"""The relative error of each layer while a model is quantized."""

import time
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from napari_qmedsam.gui.shared.plot import ACCENT, Plot

if TYPE_CHECKING:
    import napari

DECADES = range(-8, 1, 2)
"""Powers of ten on the axis of errors."""


class ErrorPlot(Plot):
    """Relative output error of each layer, as the layers are done.

    Axes are drawn when they change; a new point costs a copy of their picture
    and the line, 2 ms instead of 90.
    """

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        self.errors: list[float] = []
        self._picture: Any = None
        super().__init__(viewer, "layer", "relative error")
        axes = self.axes
        axes.set_yscale("log")
        # Plain texts at fixed places: matplotlib's own take half of the time.
        axes.yaxis.set_major_locator(FixedLocator([10.0**e for e in DECADES]))
        axes.yaxis.set_major_formatter(FixedFormatter([f"1e{e}" for e in DECADES]))
        axes.yaxis.set_minor_locator(NullLocator())
        (self._line,) = axes.plot(
            [], [], ".-", color=ACCENT, markersize=4, lw=0.8, animated=True
        )
        self.mpl_connect("draw_event", self._axes_drawn)
        self.setToolTip(
            "Error of each layer's output on the calibration inputs, over its energy."
        )
        self.start(1)

    def start(self, layers: int) -> None:
        """Begin anew, for so many layers."""
        self.errors = []
        self._line.set_data([], [])
        self.axes.set_xlim(0, max(2, layers) + 1)
        self.axes.set_ylim(10.0 ** DECADES[0], 10.0 ** DECADES[-1])
        self._picture = None
        self.redraw()

    def add(self, error: float) -> None:
        """Show the error of the next layer."""
        self.errors.append(error)
        # 0 has no place on a logarithmic axis; very small ones lie at its foot.
        points = [(i, e) for i, e in enumerate(self.errors, 1) if e > 0]
        lowest = 10.0 ** DECADES[0]
        self._line.set_data([i for i, _ in points], [max(e, lowest) for _, e in points])
        self.redraw()

    def show_theme(self) -> None:
        """Take the colours of the theme."""
        self._picture = None
        super().show_theme()

    def _axes_drawn(self, event: Any) -> None:
        self._picture = self.copy_from_bbox(self.figure.bbox)
        self.axes.draw_artist(self._line)

    def _draw_now(self) -> None:
        if self._picture is None:
            super()._draw_now()
            return
        self._drawn = time.monotonic()
        self.restore_region(self._picture)
        self.axes.draw_artist(self._line)
        self.blit(self.figure.bbox)
