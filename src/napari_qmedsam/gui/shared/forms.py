"""Pieces that the panels' controls are made and arranged of."""

from html import escape

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_qmedsam.evaluation.rules import TOLERANCE_MM

Item = QWidget | QLayout

GAP = 4
"""Pixels between what stands side by side."""


def combo_box(parent: QWidget, tip: str, characters: int = 4) -> QComboBox:
    """Return a combo box that takes what room there is, `characters` at least."""
    combo = QComboBox(parent)
    combo.setToolTip(tip)
    ask_for(combo, characters)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo


def ask_for(combo: QComboBox, characters: int) -> None:
    """Let a combo box ask for room for so many characters, however long entries are."""
    combo.setMinimumContentsLength(characters)
    combo.setSizeAdjustPolicy(
        QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    )


def spin_box(
    parent: QWidget, limits: tuple[int, int], value: int, tip: str
) -> QSpinBox:
    """Return a field for a whole number."""
    field = QSpinBox(parent)
    field.setRange(*limits)
    field.setValue(value)
    field.setToolTip(tip)
    return field


def tolerance_field(parent: QWidget) -> QDoubleSpinBox:
    """Return a field for the tolerance of the normalised surface distance."""
    field = QDoubleSpinBox(parent)
    field.setRange(0.0, 100.0)
    field.setSingleStep(0.5)
    field.setDecimals(1)
    field.setValue(TOLERANCE_MM)
    field.setSuffix(" mm")
    field.setToolTip(
        "Distance up to which surfaces agree, for the normalised surface distance."
    )
    return field


def button(parent: QWidget, text: str, tip: str) -> QPushButton:
    """Return a button."""
    made = QPushButton(text, parent)
    made.setToolTip(tip)
    return made


class StatusLine(QLabel):
    """Sentences on one line, as far as they fit; all of them in the tooltip.

    It asks for one line whatever it says, so nothing below it moves.

    Parameters
    ----------
    parent : QWidget
    tip : str
        Tooltip while there is nothing to say.
    """

    def __init__(self, parent: QWidget, tip: str) -> None:
        super().__init__(parent)
        self._tip = tip
        self.setToolTip(tip)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._text = ""

    def text(self) -> str:
        """Return all that is said."""
        return self._text

    def setText(self, text: str) -> None:
        """Say something else."""
        self._text = text
        # Names in it are no markup.
        said = f"<p>{escape(text)}</p>" if text else ""
        self.setToolTip(f"{said}<p>{escape(self._tip)}</p>")
        self._fit()

    def shown(self) -> str:
        """Return what is to be read without the tooltip."""
        return super().text()

    def sizeHint(self) -> QSize:
        """Ask for one line."""
        return QSize(80, self.fontMetrics().height() + 4)

    def minimumSizeHint(self) -> QSize:
        """Ask for one line, of any width."""
        return QSize(0, self.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Say as much as fits now."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        line = " ".join(self._text.split())
        side, room = Qt.TextElideMode.ElideRight, self.contentsRect().width()
        super().setText(self.fontMetrics().elidedText(line, side, room))


def status_line(parent: QWidget, tip: str) -> StatusLine:
    """Return a label for sentences."""
    return StatusLine(parent, tip)


def form(*rows: tuple[str, Item]) -> QFormLayout:
    """Return labelled fields one below the other."""
    layout = QFormLayout()
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    layout.setHorizontalSpacing(GAP)
    for label, field in rows:
        layout.addRow(label, field)
    return layout


def row(*fields: QWidget | tuple[QWidget, int]) -> QHBoxLayout:
    """Return fields side by side, each with its share of the width, 1 unless told."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(GAP)
    for field in fields:
        widget, share = field if isinstance(field, tuple) else (field, 1)
        layout.addWidget(widget, share)
    return layout


class Scrolled(QScrollArea):
    """Controls that scroll up and down in a low window, never to the side."""

    def __init__(self, controls: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidget(controls)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # One that comes and goes would move what is beside it.
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)

    def minimumSizeHint(self) -> QSize:
        """Ask for the width of the controls and of the bar beside them."""
        # napari's style draws the bar wider than its hint says.
        bar = self.verticalScrollBar().sizeHint().width() + 2
        width = self.widget().minimumSizeHint().width() + bar
        return QSize(width, super().minimumSizeHint().height())


class StepBar(QProgressBar):
    """A progress bar without text, told of steps done."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setToolTip("Share of the work that is done.")
        self.setTextVisible(False)

    def show_steps(self, done: int, total: int) -> None:
        """Show steps done; total 0 means that nobody knows how many there are."""
        # Qt would paint the bar at once, and with it all else that waits to be painted.
        self.setUpdatesEnabled(False)
        self.setRange(0, total)
        if done:
            self.setValue(done)
        else:
            self.reset()
        self.setUpdatesEnabled(True)


class Controls(QWidget):
    """A panel's controls, without what they do.

    Parameters
    ----------
    parent : QWidget
    status_tip : str
        Tooltip of the line that says what happens.
    """

    footer: QWidget | None = None
    """What stays in sight below, however far the rest is scrolled."""

    def __init__(self, parent: QWidget, status_tip: str) -> None:
        super().__init__(parent)
        self.progress = StepBar(self)
        self.status = StatusLine(self, status_tip)


def work_grid(start: QWidget, cancel: QWidget, progress: QWidget) -> QGridLayout:
    """Return what starts and stops work, with its bar below."""
    layout = QGridLayout()
    layout.addWidget(start, 0, 0)
    layout.addWidget(cancel, 0, 1)
    layout.addWidget(progress, 1, 0, 1, 2)
    return layout


def column(owner: QWidget, *items: Item | tuple[Item, int]) -> None:
    """Put items below one another into a widget, each with its share of the rest."""
    layout = QVBoxLayout(owner)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(6)
    layout.setAlignment(Qt.AlignmentFlag.AlignTop)
    for entry in items:
        item, share = entry if isinstance(entry, tuple) else (entry, 0)
        if isinstance(item, QWidget):
            layout.addWidget(item, share)
        else:
            layout.addLayout(item, share)
