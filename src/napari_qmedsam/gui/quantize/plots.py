"""Small plots inside the panels, in the colours of napari's theme."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer

from napari_qmedsam.evaluation.comparison_table import ComparisonRow

if TYPE_CHECKING:
    import napari

REDRAW_MILLISECONDS = 500
"""Least time between two drawings while points come in."""

ACCENT, SECOND = "#3d9df2", "#ff9f1c"
"""Told apart from both backgrounds, and from one another by colour-blind eyes."""

DECADES = range(-8, 1, 2)
"""Powers of ten on the axis of errors."""


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
        for label, set_label in zip(
            self._labels, (axes.set_xlabel, axes.set_ylabel), strict=True
        ):
            set_label(label, color=ink, fontsize=8, labelpad=2)
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


class SizePlot(Plot):
    """DSC of the variants against the size of their files."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__(viewer, "file, MB", "DSC, %")
        self._rows: Sequence[ComparisonRow] = ()
        self._drawn_things: list[Any] = []
        self.setToolTip("Each variant's DSC against the size of its file.")

    def show_rows(self, rows: Sequence[ComparisonRow]) -> None:
        """Show the rows that have a score."""
        self._rows = [r for r in rows if r.dsc is not None and r.dsc == r.dsc]
        for thing in self._drawn_things:
            thing.remove()
        self._drawn_things = []
        for number, row in enumerate(self._rows):
            colour = SECOND if row.variant.is_float else ACCENT
            place = row.variant.megabytes, row.dsc
            self._drawn_things += self.axes.plot(*place, "o", color=colour, ms=5)
            text = self.axes.annotate(
                f"{row.variant.bits} bit",
                place,
                # Above and below in turn: equal scores would print over each other.
                (4, (4, -10)[number % 2]),
                textcoords="offset points",
                fontsize=7,
                color=self.ink,
            )
            self._drawn_things.append(text)
        if self._rows:
            sizes = [row.variant.megabytes for row in self._rows]
            scores = [row.dsc for row in self._rows]
            margin = max(0.5, 0.25 * (max(scores) - min(scores)))
            self.axes.set_xlim(0, 1.2 * max(sizes) or 1)
            self.axes.set_ylim(min(scores) - margin, max(scores) + margin)
        self.redraw()

    def show_theme(self) -> None:
        """Take the colours of the theme, for the texts at the points too."""
        super().show_theme()
        if getattr(self, "_rows", ()):
            self.show_rows(self._rows)
