"""A table in a window of its own, to be read, copied or saved."""

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QDialog,
    QFileDialog,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_qmedsam.evaluation.tables import Cells, csv_text, save_table
from napari_qmedsam.gui.shared.forms import button, row
from napari_qmedsam.gui.shared.notices import errors_shown

FILTERS = "CSV (*.csv);;Markdown (*.md)"


class TableDialog(QDialog):
    """Shows rows of text; the window behind it can be used meanwhile.

    Parameters
    ----------
    parent : QWidget
    title : str
    cells : sequence of sequence of str
        Rows, headings first.
    note : str
        A sentence below the table.
    """

    def __init__(self, parent: QWidget, title: str, cells: Cells, note: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.table = QTableWidget(self)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        self.status = QLabel(self)
        self.status.setWordWrap(True)
        self.show_cells(cells, note)
        self.copying = button(self, "Copy", "Copy the table as CSV.")
        self.saving = button(self, "Save…", "Save the table as CSV or Markdown.")
        self.copying.clicked.connect(self.copy)
        self.saving.clicked.connect(lambda: self.save())
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addWidget(self.status)
        layout.addLayout(row(self.copying, self.saving))
        wide = self.table.horizontalHeader().length() + 60
        self.resize(min(wide, 900), min(140 + 30 * len(cells), 600))

    def show_cells(self, cells: Cells, note: str) -> None:
        """Show another table."""
        self.cells, self._note = cells, note
        head, *body = cells
        self.table.setRowCount(len(body))
        self.table.setColumnCount(len(head))
        self.table.setHorizontalHeaderLabels(list(head))
        for place, texts in enumerate(body):
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                if column and text.replace(".", "").lstrip("-").isdigit():
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(place, column, item)
        self.table.resizeColumnsToContents()
        self.status.setText(note)

    def copy(self) -> None:
        """Put the table on the clipboard as CSV."""
        QApplication.clipboard().setText(csv_text(self.cells))
        self.status.setText("Copied the table as CSV.")

    def save(self, path: str | Path | None = None) -> None:
        """Write the table; without path, ask."""
        with errors_shown(self.status.setText):
            path = path or self._ask()
            if path:
                save_table(self.cells, Path(path), self._note)
                self.status.setText(f"Saved {path}.")

    def _ask(self) -> str:
        path, chosen = QFileDialog.getSaveFileName(
            self, "Save the table", "objects.csv", FILTERS
        )
        if not path or Path(path).suffix:
            return path
        return f"{path}.md" if "md" in chosen else f"{path}.csv"
