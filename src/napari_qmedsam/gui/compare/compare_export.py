"""The table of a comparison, on the clipboard or in a file."""

from collections.abc import Callable
from pathlib import Path

from qtpy.QtWidgets import QApplication, QFileDialog, QWidget

from napari_qmedsam.evaluation.comparison import Comparison
from napari_qmedsam.evaluation.comparison_table import (
    SliceNumber,
    note_of,
    table_cells,
)
from napari_qmedsam.evaluation.tables import csv_text, markdown_text, save_table
from napari_qmedsam.gui.shared.notices import errors_shown

TABLE_FILTERS = "CSV (*.csv);;Markdown (*.md)"


class TableExport:
    """Copies and saves the table of whatever comparison there is.

    Parameters
    ----------
    parent : QWidget
        Owner of the file dialog.
    comparison : callable
        Returns the comparison, or raises if there is none yet.
    number : callable
        Returns what the slider shows on a slice: the table says it as the window does.
    say : callable
        Called with what was done.
    """

    def __init__(
        self,
        parent: QWidget,
        comparison: Callable[[], Comparison],
        number: SliceNumber,
        say: Callable[[str], None],
    ) -> None:
        self._parent, self._comparison, self._say = parent, comparison, say
        self._number = number

    def copy_csv(self) -> None:
        """Put the table on the clipboard as CSV."""
        self._copy(csv_text, "CSV")

    def copy_markdown(self) -> None:
        """Put the table on the clipboard as Markdown."""
        self._copy(markdown_text, "Markdown")

    def save(self, path: str | Path | None = None) -> None:
        """Write the table as CSV or Markdown; without path, ask."""
        with errors_shown(self._say):
            comparison = self._comparison()
            path = path or self._ask()
            if path:
                cells, note = self._cells(), note_of(comparison, self._number)
                save_table(cells, Path(path), note)
                self._say(f"Saved {path}.")

    def _copy(self, text_of: Callable[[list[list[str]]], str], form: str) -> None:
        with errors_shown(self._say):
            QApplication.clipboard().setText(text_of(self._cells()))
            self._say(f"Copied the table as {form}.")

    def _cells(self) -> list[list[str]]:
        return table_cells(self._comparison(), self._number)

    def _ask(self) -> str:
        path, chosen = QFileDialog.getSaveFileName(
            self._parent, "Save the table", "comparison.csv", TABLE_FILTERS
        )
        if not path or Path(path).suffix:
            return path
        return f"{path}.md" if "md" in chosen else f"{path}.csv"
