"""The sortable table of variants: what they are, how they score."""

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_qmedsam.evaluation.comparison_table import ComparisonRow

COLUMNS = {
    "Variant": "Model and bit-width; ticked ones are compared.",
    "Bits": "Bits of each weight's code.",
    "Eff. bits": "Effective bits: stored bits per weight, scales and indices included.",
    "MB": "Size of the model file.",
    "ms": "Milliseconds per slice, encoding and decoding, median over slices.",
    "DSC": "Dice coefficient against the labels, in percent.",
    "NSD": "Normalised surface distance at the tolerance, in percent.",
    "Δ FP32": "DSC minus that of the float model, in percentage points. Cells say "
    "whether the variant is enough.",
}
"""Title and tooltip of each column."""

EFFECTIVE = 2
"""Column of the effective bits."""

CHANGE = 7
"""Column of the change against the float model."""

SEEN_FIRST = (5, 6, 7)
"""Columns of the scores, which stand beside the names: a narrow panel has room for
these, and scrolls to the others."""

WIDTHS = (0, 34, 58, 46, 40, 50, 50, 56)
"""Pixels of each column; names get what is left."""

NAME_WIDTH = 100
"""Pixels that names get at least: two lines of them tell variants apart."""

SEEN_WIDTH = 250
"""Pixels of the table below which it is not made narrower; it scrolls then."""


class VariantTable(QTableWidget):
    """Shows one row per variant; a click on a heading sorts by it."""

    chosen = Signal(str)
    """A row was selected: name of its variant."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        for column, (title, tip) in enumerate(COLUMNS.items()):
            heading = QTableWidgetItem(title)
            heading.setToolTip(tip)
            self.setHorizontalHeaderItem(column, heading)
        self.verticalHeader().hide()
        # Names that are too long for the column take a second line.
        rows = self.verticalHeader()
        rows.setMinimumSectionSize(26)
        rows.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setToolTip("Select a row to go to the slice on which it does worst.")
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        for column, width in enumerate(WIDTHS[1:], 1):
            self.setColumnWidth(column, width)
        for place, column in enumerate(SEEN_FIRST, 1):
            header.moveSection(header.visualIndex(column), place)
        self.setMinimumSize(SEEN_WIDTH, 132)
        self._unticked: set[str] = set()
        self._filling = False
        self.setSortingEnabled(True)
        # The order in which variants were made, until a heading is clicked.
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.itemChanged.connect(self._ticked)
        self.itemSelectionChanged.connect(self._selected)
        # Of the row that is selected already, too.
        self.cellClicked.connect(lambda _row, _column: self._selected())

    def show_rows(self, rows: Sequence[ComparisonRow]) -> None:
        """Show these rows; what was ticked and selected stays so."""
        selected = self.selected_name()
        self._filling = True
        self.setSortingEnabled(False)
        try:
            self.setRowCount(len(rows))
            for index, row in enumerate(rows):
                self._fill(index, row)
        finally:
            self.setSortingEnabled(True)
            for index in range(self.rowCount()):
                if self.item(index, 0).text() == selected:
                    self.selectRow(index)
            self._filling = False

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Give names what the other columns leave."""
        super().resizeEvent(event)
        rest = self.viewport().width() - sum(WIDTHS)
        self.setColumnWidth(0, max(NAME_WIDTH, rest))

    def ticked_names(self) -> list[str]:
        """Return the variants to be compared, in the order shown."""
        items = [self.item(row, 0) for row in range(self.rowCount())]
        return [i.text() for i in items if i.checkState() == Qt.CheckState.Checked]

    def selected_name(self) -> str | None:
        """Return the variant of the selected row."""
        rows = self.selectionModel().selectedRows()
        return self.item(rows[0].row(), 0).text() if rows else None

    def _fill(self, index: int, row: ComparisonRow) -> None:
        variant = row.variant
        name = QTableWidgetItem(variant.name)
        name.setToolTip(
            f"{variant.name}: {variant.method} on {variant.backend} "
            f"{variant.precision}, {variant.parameters / 1e6:.1f} M parameters."
        )
        name.setFlags(name.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        ticked = variant.name not in self._unticked
        name.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        self.setItem(index, 0, name)
        cells = (
            (variant.bits, max(variant.bit_widths)),
            _number(variant.effective_bits, "{:.2f}"),
            _number(variant.megabytes, "{:.2f}"),
            _number(variant.milliseconds_per_slice, "{:.0f}"),
            _number(row.dsc, "{:.2f}"),
            _number(row.nsd, "{:.2f}"),
            _number(row.change, "{:+.2f}"),
        )
        scored = f"{row.object_name}: scored by {row.reference}."
        for column, (text, value) in enumerate(cells, 1):
            item = _NumberItem(text, value)
            item.setToolTip(scored if row.reference else "")
            self.setItem(index, column, item)
        self.item(index, CHANGE).setToolTip(
            " ".join(filter(None, (scored if row.reference else "", row.verdict)))
        )
        if variant.stored_bits:
            self.item(index, EFFECTIVE).setToolTip(variant.stored_bits)

    def _ticked(self, item: QTableWidgetItem) -> None:
        if self._filling or item.column() != 0:
            return
        if item.checkState() == Qt.CheckState.Checked:
            self._unticked.discard(item.text())
        else:
            self._unticked.add(item.text())

    def _selected(self) -> None:
        name = self.selected_name()
        if not self._filling and name is not None:
            self.chosen.emit(name)


class _NumberItem(QTableWidgetItem):
    """Sorts by its number, not its text; cells without one come first."""

    def __init__(self, text: str, value: float) -> None:
        super().__init__(text)
        self.value = value
        self.setTextAlignment(
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        )

    def __lt__(self, other: QTableWidgetItem) -> bool:
        return self.value < getattr(other, "value", float("-inf"))


def _number(value: float | None, form: str) -> tuple[str, float]:
    if value is None or value != value:
        return "", float("-inf")
    text = form.format(value)
    # Nothing is neither more nor less.
    return form.format(0.0) if float(text) == 0 else text, float(value)
