"""A table of a panel, on the clipboard or in a file."""

from collections.abc import Callable
from pathlib import Path

from qtpy.QtWidgets import QApplication, QFileDialog, QWidget

from napari_qmedsam.evaluation.tables import Cells, csv_text, markdown_text, save_table
from napari_qmedsam.gui.shared.notices import errors_shown

FILTERS = "CSV (*.csv);;Markdown (*.md)"


class TableExport:
    """Copies and saves whatever table there is.

    Parameters
    ----------
    parent : QWidget
        Owner of the file dialog.
    table : callable
        Returns the cells, headings first, and a sentence that goes with them; or
        raises if there is no table yet.
    name : str
        Of the file that is offered.
    say : callable
        Called with what was done.
    """

    def __init__(
        self,
        parent: QWidget,
        table: Callable[[], tuple[Cells, str]],
        name: str,
        say: Callable[[str], None],
    ) -> None:
        self._parent, self._table, self._name, self._say = parent, table, name, say

    def copy_csv(self) -> None:
        """Put the table on the clipboard as CSV."""
        self._copy(csv_text, "CSV")

    def copy_markdown(self) -> None:
        """Put the table on the clipboard as Markdown."""
        self._copy(markdown_text, "Markdown")

    def save(self, path: str | Path | None = None) -> None:
        """Write the table as CSV or Markdown; without path, ask."""
        with errors_shown(self._say):
            cells, note = self._table()
            path = path or self._ask()
            if path:
                save_table(cells, Path(path), note)
                self._say(f"Saved {path}.")

    def _copy(self, text_of: Callable[[Cells], str], form: str) -> None:
        with errors_shown(self._say):
            QApplication.clipboard().setText(text_of(self._table()[0]))
            self._say(f"Copied the table as {form}.")

    def _ask(self) -> str:
        path, chosen = QFileDialog.getSaveFileName(
            self._parent, "Save the table", self._name, FILTERS
        )
        if not path or Path(path).suffix:
            return path
        return f"{path}.md" if "md" in chosen else f"{path}.csv"
