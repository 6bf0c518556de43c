"""The table of objects: colour and id, name, first and last slice."""

from collections.abc import Sequence

from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_qmedsam.segmentation.session import SegmentObject

COLUMNS = {
    "Id": "Colour and value of the object's voxels in the labels.",
    "Name": "Name of the object; double-click to change it.",
    "From": "First slice of the object.",
    "To": "Last slice of the object, included.",
}
"""Title and tooltip of each column."""


class ObjectTable(QTableWidget):
    """Shows the objects and lets name and slices be edited.

    Slices are shown with both ends included; the signals carry the maximum
    excluded, as everywhere in the core.
    """

    renamed = Signal(int, str)
    range_changed = Signal(int, int, int)
    visited = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        self._ids: list[int] = []
        self._filling = False
        for column, (title, tip) in enumerate(COLUMNS.items()):
            header = QTableWidgetItem(title)
            header.setToolTip(tip)
            self.setHorizontalHeaderItem(column, header)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(30)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setToolTip(
            "One row for each box; select rows to segment only these objects."
        )
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        for column, width in ((0, 52), (2, 62), (3, 62)):
            self.setColumnWidth(column, width)
        self.setMinimumHeight(132)
        self.itemChanged.connect(self._name_edited)
        self.cellDoubleClicked.connect(self._cell_visited)

    def selected_ids(self) -> list[int]:
        """Return the ids of the selected rows, top to bottom."""
        rows = {index.row() for index in self.selectionModel().selectedRows()}
        return [self._ids[row] for row in sorted(rows)]

    def show_objects(
        self, objects: Sequence[SegmentObject], colours: Sequence[NDArray], depth: int
    ) -> None:
        """Show these objects; rows that stay keep focus and selection.

        Parameters
        ----------
        objects : sequence of SegmentObject
        colours : sequence of (4,) RGBA
        depth : int
            Slices of the volume.
        """
        self._filling = True
        try:
            ids = [o.object_id for o in objects]
            if ids != self._ids:
                self.clearSelection()
                self._ids = ids
                self.setRowCount(0)
                self.setRowCount(len(ids))
                for row, object_id in enumerate(ids):
                    self._build_row(row, object_id)
            for row, (o, colour) in enumerate(zip(objects, colours, strict=True)):
                self._fill_row(row, o, colour, depth)
        finally:
            self._filling = False

    def spin_boxes(self, object_id: int) -> tuple[QSpinBox, QSpinBox]:
        """Return the two slice fields of an object."""
        row = self._ids.index(object_id)
        return self.cellWidget(row, 2), self.cellWidget(row, 3)

    def _build_row(self, row: int, object_id: int) -> None:
        item = QTableWidgetItem(str(object_id))
        item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
        item.setToolTip("Double-click to go to the middle slice of this object.")
        self.setItem(row, 0, item)
        self.setItem(row, 1, QTableWidgetItem())
        for column, tip in ((2, COLUMNS["From"]), (3, COLUMNS["To"])):
            field = QSpinBox(self)
            field.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
            field.setAlignment(Qt.AlignmentFlag.AlignCenter)
            field.setKeyboardTracking(False)
            field.setToolTip(tip)
            field.valueChanged.connect(
                lambda _, i=object_id, c=column: self._range_edited(i, c)
            )
            self.setCellWidget(row, column, field)

    def _fill_row(
        self, row: int, o: SegmentObject, colour: NDArray, depth: int
    ) -> None:
        swatch = QPixmap(14, 14)
        swatch.fill(QColor.fromRgbF(*(float(v) for v in colour)))
        self.item(row, 0).setIcon(QIcon(swatch))
        self.item(row, 1).setText(o.name)
        first, last = self.spin_boxes(o.object_id)
        for field, value in ((first, o.box.z_min), (last, o.box.z_max - 1)):
            field.setRange(0, depth - 1)
            field.setValue(value)

    def _name_edited(self, item: QTableWidgetItem) -> None:
        if not self._filling and item.column() == 1:
            object_id = self._ids[item.row()]
            self.renamed.emit(object_id, item.text().strip() or f"object {object_id}")

    def _range_edited(self, object_id: int, column: int) -> None:
        if self._filling:
            return
        first, last = (field.value() for field in self.spin_boxes(object_id))
        # The end just edited takes the other one along.
        if first > last:
            first, last = (first, first) if column == 2 else (last, last)
        self.range_changed.emit(object_id, first, last + 1)

    def _cell_visited(self, row: int, column: int) -> None:
        if column == 0:
            self.visited.emit(self._ids[row])
