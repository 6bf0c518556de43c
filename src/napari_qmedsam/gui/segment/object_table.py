"""The table of objects: id, name, slices, millilitres, visible, locked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QWidget,
)

from napari_qmedsam.gui.shared.icons import icon
from napari_qmedsam.gui.shared.navigation import SliceView
from napari_qmedsam.segmentation.measuring import Measure
from napari_qmedsam.segmentation.objects import SegmentObject

COLUMNS = {
    "Id": "Colour and value of the object's voxels in the labels.",
    "Name": "Name of the object; double-click or F2 to change it.",
    "From": "First slice of the object, as the slider counts.",
    "To": "Last slice of the object, included, as the slider counts.",
    "ml": "Volume of the object's voxels in millilitres.",
    "👁": "Whether the object's boxes and voxels are shown.",
    "🔒": "Locked objects are never changed nor overwritten.",
}
"""Title and tooltip of each column."""

ID, NAME, FROM, TO, ML, VISIBLE, LOCKED = range(len(COLUMNS))

DOUBT_INK = "#e8a200"
"""Amber, to be seen in both themes."""

DOUBT_ROLE = int(Qt.ItemDataRole.UserRole)
"""Where the cell of a size keeps why the mask is doubted."""

WIDTHS = {ID: 46, FROM: 40, TO: 40, ML: 62, VISIBLE: 28, LOCKED: 28}


@dataclass(frozen=True)
class SliderSpan:
    """Slices of an object, and those there are, as the slider counts them."""

    first: int
    last: int
    lowest: int
    highest: int

    @classmethod
    def of(cls, o: SegmentObject, view: SliceView) -> "SliderSpan":
        """Return those of an object, along its own axis."""
        box = o.box
        ends = view.number(box.z_min, o.axis), view.number(box.z_max - 1, o.axis)
        return cls(min(ends), max(ends), *view.span(o.axis))


class ObjectTable(QTableWidget):
    """Shows the objects and lets what the user may decide be edited.

    Slices are shown and told as the slider counts them, with both ends included.
    """

    renamed = Signal(int, str)
    range_changed = Signal(int, int, int)
    visited = Signal(int)
    visibility_changed = Signal(int, bool)
    lock_changed = Signal(int, bool)
    selection_changed = Signal(tuple)
    """Ids of the rows that the user selected, top to bottom."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        self._ids: list[int] = []
        self._filling = False
        self._ink = "#808080"
        for column, (title, tip) in enumerate(COLUMNS.items()):
            heading = QTableWidgetItem(title if column < VISIBLE else "")
            heading.setToolTip(tip)
            self.setHorizontalHeaderItem(column, heading)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(28)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        # Letters are keys of the panel, and no names.
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.EditKeyPressed
            | QAbstractItemView.EditTrigger.DoubleClicked
        )
        self.setToolTip(
            "One row for each object. Buttons and keys work on the selected ones, on "
            "all if none is selected. A new box is selected; Ctrl+A selects all."
        )
        header = self.horizontalHeader()
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        for column, width in WIDTHS.items():
            self.setColumnWidth(column, width)
        # Beside the sign of a doubt, a size of four digits is to be read.
        self.setIconSize(QSize(13, 13))
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(58)
        self.itemChanged.connect(self._name_edited)
        self.itemSelectionChanged.connect(self._selected)
        self.cellDoubleClicked.connect(self._cell_visited)

    def selected_ids(self) -> list[int]:
        """Return the ids of the selected rows, top to bottom."""
        rows = {index.row() for index in self.selectionModel().selectedRows()}
        return [self._ids[row] for row in sorted(rows)]

    def select_ids(self, object_ids: Sequence[int]) -> None:
        """Select the rows of these objects, and no others."""
        if self.selected_ids() == sorted(object_ids, key=self._row_of):
            return
        was_filling, self._filling = self._filling, True
        try:
            self.clearSelection()
            self._select([i for i in object_ids if i in self._ids])
        finally:
            self._filling = was_filling

    def keyboardSearch(self, search: str) -> None:
        """Stay where it is: letters typed here would select another row."""

    def set_ink(self, colour: str) -> None:
        """Draw the icons in another colour."""
        self._ink = colour
        self.horizontalHeaderItem(VISIBLE).setIcon(icon("visible", colour))
        self.horizontalHeaderItem(LOCKED).setIcon(icon("locked", colour))
        for row in range(self.rowCount()):
            for column in (VISIBLE, LOCKED):
                self._show_switch(self._switch(row, column), column)

    def show_objects(
        self,
        objects: Sequence[SegmentObject],
        colours: Sequence[NDArray],
        spans: Sequence[SliderSpan],
        selected: Sequence[int] = (),
    ) -> None:
        """Show these objects, selected as they are in another place.

        Parameters
        ----------
        objects : sequence of SegmentObject
        colours : sequence of (4,) RGBA
        spans : sequence of SliderSpan
        selected : sequence of int
            Ids.
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
            for row, o in enumerate(objects):
                self._fill_row(row, o, colours[row], spans[row])
            self.select_ids(selected)
        finally:
            self._filling = False

    def show_measures(self, measure: Callable[[int], Measure]) -> None:
        """Show how large the objects are; `measure` is asked by id."""
        for row, object_id in enumerate(self._ids):
            size = measure(object_id)
            item = self.item(row, ML)
            item.setText(_shown(size) if size.voxels else "–")
            doubt = item.data(DOUBT_ROLE) or ""
            item.setToolTip(f"{size.text}\n{doubt}" if doubt else size.text)
            if size.volume_ml is None:
                heading = self.horizontalHeaderItem(ML)
                heading.setText("px")
                heading.setToolTip("Pixels of the object; the image has no spacing.")
            else:
                self.horizontalHeaderItem(ML).setText("ml")
                self.horizontalHeaderItem(ML).setToolTip(COLUMNS["ml"])

    def show_doubts(self, doubts: Mapping[int, str]) -> None:
        """Mark objects whose masks should be looked at, with the reason by id."""
        for row, object_id in enumerate(self._ids):
            item = self.item(row, ML)
            text = doubts.get(object_id, "")
            item.setIcon(icon("doubt", DOUBT_INK) if text else QIcon())
            item.setData(DOUBT_ROLE, text)
            item.setToolTip("\n".join([item.toolTip().split("\n")[0], text]).rstrip())

    def spin_boxes(self, object_id: int) -> tuple[QSpinBox, QSpinBox]:
        """Return the two slice fields of an object."""
        row = self._ids.index(object_id)
        return self._field(row, FROM), self._field(row, TO)

    def _field(self, row: int, column: int) -> QSpinBox:
        return cast(QSpinBox, self.cellWidget(row, column))

    def _switch(self, row: int, column: int) -> QToolButton:
        return cast(QToolButton, self.cellWidget(row, column))

    def _select(self, object_ids: list[int]) -> None:
        mode = self.selectionMode()
        self.setSelectionMode(QAbstractItemView.SelectionMode.MultiSelection)
        for object_id in object_ids:
            self.selectRow(self._ids.index(object_id))
        self.setSelectionMode(mode)

    def _build_row(self, row: int, object_id: int) -> None:
        for column in (ID, ML):
            item = QTableWidgetItem(str(object_id) if column == ID else "–")
            item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
            self.setItem(row, column, item)
        self.item(row, ID).setToolTip(
            "Double-click to go to the middle slice of this object."
        )
        self.item(row, ML).setTextAlignment(
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        )
        self.setItem(row, NAME, QTableWidgetItem())
        for column, title in ((FROM, "From"), (TO, "To")):
            field = QSpinBox(self)
            field.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
            field.setAlignment(Qt.AlignmentFlag.AlignCenter)
            field.setKeyboardTracking(False)
            # napari's style leaves room for arrows, and none for numbers.
            field.setStyleSheet("padding: 0px; min-width: 0px; border: none;")
            field.setToolTip(COLUMNS[title])
            field.valueChanged.connect(
                lambda _, i=object_id, c=column: self._range_edited(i, c)
            )
            self.setCellWidget(row, column, field)
        for column, signal in (
            (VISIBLE, self.visibility_changed),
            (LOCKED, self.lock_changed),
        ):
            switch = QToolButton(self)
            switch.setCheckable(True)
            switch.setAutoRaise(True)
            switch.toggled.connect(
                lambda on, i=object_id, s=signal, b=switch, c=column: self._switched(
                    i, on, s, b, c
                )
            )
            self.setCellWidget(row, column, switch)

    def _fill_row(
        self, row: int, o: SegmentObject, colour: NDArray, span: SliderSpan
    ) -> None:
        swatch = QPixmap(14, 14)
        swatch.fill(QColor.fromRgbF(*(float(v) for v in colour)))
        self.item(row, ID).setIcon(QIcon(swatch))
        name = self.item(row, NAME)
        name.setText(o.name)
        flags, can_edit = name.flags(), Qt.ItemFlag.ItemIsEditable
        name.setFlags(flags & ~can_edit if o.is_locked else flags | can_edit)
        how = "locked" if o.is_locked else "double-click or F2 to change it"
        name.setToolTip(f"{o.name}; {how}.")
        first, last = self.spin_boxes(o.object_id)
        for field, value in ((first, span.first), (last, span.last)):
            field.setRange(span.lowest, span.highest)
            field.setValue(value)
            field.setEnabled(not o.is_locked)
        for column, is_on in ((VISIBLE, o.is_visible), (LOCKED, o.is_locked)):
            switch = self._switch(row, column)
            switch.setChecked(is_on)
            self._show_switch(switch, column)

    def _show_switch(self, switch: QToolButton, column: int) -> None:
        on, off = ("visible", "hidden") if column == VISIBLE else ("locked", "unlocked")
        name = on if switch.isChecked() else off
        switch.setIcon(icon(name, self._ink))
        switch.setToolTip(
            f"This object is {name}. Click to change that."
            if column == VISIBLE
            else f"This object is {name}. Locked ones are never changed."
        )

    def _switched(
        self, object_id: int, is_on: bool, signal: Signal, switch: QToolButton, c: int
    ) -> None:
        self._show_switch(switch, c)
        if not self._filling:
            signal.emit(object_id, is_on)

    def _row_of(self, object_id: int) -> int:
        return self._ids.index(object_id) if object_id in self._ids else -1

    def _selected(self) -> None:
        if not self._filling:
            self.selection_changed.emit(tuple(self.selected_ids()))

    def _name_edited(self, item: QTableWidgetItem) -> None:
        if not self._filling and item.column() == NAME:
            object_id = self._ids[item.row()]
            self.renamed.emit(object_id, item.text().strip() or f"object {object_id}")

    def _range_edited(self, object_id: int, column: int) -> None:
        if self._filling:
            return
        first, last = (field.value() for field in self.spin_boxes(object_id))
        # The end just edited takes the other one along.
        if first > last:
            first, last = (first, first) if column == FROM else (last, last)
        self.range_changed.emit(object_id, first, last)

    def _cell_visited(self, row: int, column: int) -> None:
        if column == ID:
            self.visited.emit(self._ids[row])


def _shown(size: Measure) -> str:
    """Return millilitres in three digits, more where there is more; else pixels."""
    volume_ml = size.volume_ml
    if volume_ml is None:
        return str(size.voxels)
    decimals = 2 if volume_ml < 10 else 1 if volume_ml < 100 else 0
    return f"{volume_ml:.{decimals}f}"
