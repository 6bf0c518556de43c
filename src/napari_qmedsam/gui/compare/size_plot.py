"""The scores of variants against the size of their files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari_qmedsam.evaluation.comparison_table import ComparisonRow
from napari_qmedsam.gui.shared.plot import ACCENT, SECOND, Plot

if TYPE_CHECKING:
    import napari


class SizePlot(Plot):
    """DSC of the variants against the size of their files."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__(viewer, "file, MB", "DSC, %")
        self._rows: Sequence[ComparisonRow] = ()
        self._drawn_things: list[Any] = []
        self.setToolTip("Each variant's DSC against the size of its file.")

    def show_rows(self, rows: Sequence[ComparisonRow]) -> None:
        """Show the rows that have a score."""
        self._rows = rows
        scored = [(r, r.dsc) for r in rows if r.dsc is not None and r.dsc == r.dsc]
        for thing in self._drawn_things:
            thing.remove()
        self._drawn_things = []
        for number, (row, dsc) in enumerate(scored):
            colour = SECOND if row.variant.is_float else ACCENT
            place = row.variant.megabytes, dsc
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
        if scored:
            sizes = [row.variant.megabytes for row, _ in scored]
            scores = [dsc for _, dsc in scored]
            margin = max(0.5, 0.25 * (max(scores) - min(scores)))
            self.axes.set_xlim(0, 1.2 * max(sizes) or 1)
            self.axes.set_ylim(min(scores) - margin, max(scores) + margin)
        self.redraw()

    def show_theme(self) -> None:
        """Take the colours of the theme, for the texts at the points too."""
        super().show_theme()
        if getattr(self, "_rows", ()):
            self.show_rows(self._rows)
