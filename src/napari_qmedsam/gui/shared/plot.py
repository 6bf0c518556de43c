"""A small plot inside a panel, in the colours of napari's theme."""

import time
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    import napari

REDRAW_MILLISECONDS = 500
"""Least time between two drawings while points come in."""

ACCENT, SECOND = "#3d9df2", "#ff9f1c"
"""Told apart from both backgrounds, and from one another by colour-blind eyes."""


class Plot(FigureCanvasQTAgg):
    """One pair of axes that is drawn now and then, never for each point.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose theme it follows.
    x_label, y_label : str
    """

    def __init__(
        self, viewer: "napari.viewer.Viewer", x_label: str, y_label: str
    ) -> None:
        # Margins are fixed: to compute them would double the time of drawing.
        figure = Figure(figsize=(3.4, 1.7), dpi=100)
        super().__init__(figure)
        self.axes: Axes = figure.add_axes((0.17, 0.27, 0.79, 0.66))
        self._labels = x_label, y_label
        self._viewer = viewer
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._draw_now)
        self._drawn = 0.0
        self.setMinimumHeight(150)
        viewer.events.theme.connect(self._theme_changed)
        self.show_theme()

    def redraw(self) -> None:
        """Draw soon; calls that come close together are drawn once."""
        if not self._timer.isActive():
            since = 1000 * (time.monotonic() - self._drawn)
            self._timer.start(max(0, int(REDRAW_MILLISECONDS - since)))

    def close_down(self) -> None:
        """Stop drawing and let go of the viewer."""
        self._timer.stop()
        self._viewer.events.theme.disconnect(self._theme_changed)

    def show_theme(self) -> None:
        """Take the colours of the theme."""
        theme = get_theme(self._viewer.theme)
        back, ink = theme.background.as_hex(), theme.text.as_hex()
        self.figure.set_facecolor(back)
        axes = self.axes
        axes.set_facecolor(back)
        axes.tick_params(colors=ink, which="both", labelsize=7, length=2)
        x_label, y_label = self._labels
        axes.set_xlabel(x_label, color=ink, fontsize=8, labelpad=2)
        axes.set_ylabel(y_label, color=ink, fontsize=8, labelpad=2)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(ink)
        axes.grid(alpha=0.25, color=ink, linewidth=0.5)
        self.redraw()

    @property
    def ink(self) -> str:
        """Colour of text."""
        return get_theme(self._viewer.theme).text.as_hex()

    def _theme_changed(self, event: Any = None) -> None:
        self.show_theme()

    def _draw_now(self) -> None:
        self._drawn = time.monotonic()
        self.draw_idle()
