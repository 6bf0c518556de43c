"""Scores of labels in a window of its own, with what they are scored by."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_qmedsam.evaluation.label_scores import LabelScores
from napari_qmedsam.evaluation.rules import Matching
from napari_qmedsam.gui.shared.forms import combo_box, row, tolerance_field
from napari_qmedsam.gui.shared.table_dialog import TableDialog

MATCHINGS = {
    Matching.OVERLAP: "overlap",
    Matching.NUMBER: "number",
    Matching.NAME: "name",
}
"""How objects are matched with labels, as the window says it."""


class ScoreDialog(TableDialog):
    """The table of scores; another tolerance or match asks for another.

    Parameters
    ----------
    parent : QWidget
    title : str
    scores : LabelScores
        Made with the first of the matchings and the usual tolerance.
    """

    asked = Signal(object, float)
    """Scores by another matching, or with another tolerance in mm, are wanted."""

    def __init__(self, parent: QWidget, title: str, scores: LabelScores) -> None:
        super().__init__(parent, title, scores.cells, scores.note)
        self.matching = combo_box(
            self,
            "Which label each object is scored against: the one it shares most "
            "with, or that of the same number or name.",
        )
        for matching, text in MATCHINGS.items():
            self.matching.addItem(text, matching)
        self.tolerance = tolerance_field(self)
        # Typed digits are no values yet.
        self.tolerance.setKeyboardTracking(False)
        layout = self.layout()
        assert isinstance(layout, QVBoxLayout)
        by, within = QLabel("Match by", self), QLabel("NSD tolerance", self)
        layout.insertLayout(0, row((by, 0), self.matching, (within, 0), self.tolerance))
        self.matching.activated.connect(lambda _: self._ask_again())
        self.tolerance.valueChanged.connect(lambda _: self._ask_again())

    def show_scores(self, scores: LabelScores) -> None:
        """Show other scores of the same labels."""
        self.show_cells(scores.cells, scores.note)

    def _ask_again(self) -> None:
        matching = Matching(self.matching.currentData())
        self.asked.emit(matching, self.tolerance.value())
