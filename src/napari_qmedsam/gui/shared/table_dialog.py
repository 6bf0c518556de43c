"""A table in a window of its own, to be read, copied or saved."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QPlainTextEdit,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_qmedsam.evaluation.tables import Cells
from napari_qmedsam.gui.shared.forms import button, row
from napari_qmedsam.gui.shared.table_export import TableExport

LEAST_HEIGHT = 200
"""Pixels that a table of many rows has at least."""

NOTE_LINES = 3
"""Lines of the note in sight; a longer one scrolls."""


class TableDialog(QDialog):
    """Shows rows of text; the window behind it can be used meanwhile.

    Parameters
    ----------
    parent : QWidget
    title : str
    cells : sequence of sequence of str
        Rows, headings first.
    note : str
        What the table does not show, below it.
    """

    def __init__(self, parent: QWidget, title: str, cells: Cells, note: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.table = QTableWidget(self)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        # Plain text that scrolls: a wrapped label takes its height from the table.
        self.status = QPlainTextEdit(self)
        self.status.setReadOnly(True)
        self.status.setFixedHeight(8 + NOTE_LINES * self.fontMetrics().lineSpacing())
        self.show_cells(cells, note)
        self.copying = button(self, "Copy", "Copy the table as CSV.")
        self.saving = button(self, "Save…", "Save the table as CSV or Markdown.")
        self.export = TableExport(
            self, lambda: (self.cells, self._note), "objects.csv", self.say
        )
        self.copying.clicked.connect(self.export.copy_csv)
        self.saving.clicked.connect(lambda: self.export.save())
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addWidget(self.status)
        layout.addLayout(row(self.copying, self.saving))
        wide = self.table.horizontalHeader().length() + 60
        self.resize(min(wide, 900), min(200 + 30 * len(cells), 600))

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
        self.table.setMinimumHeight(min(34 + 30 * len(body), LEAST_HEIGHT))
        self.say(note)

    def say(self, text: str) -> None:
        """Show a sentence below the table, or none."""
        self.status.setPlainText(text)
        self.status.setVisible(bool(text))
