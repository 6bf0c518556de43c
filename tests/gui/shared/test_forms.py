"""Pieces of the panels."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_qmedsam.gui.shared.forms import status_line

pytestmark = pytest.mark.gui


def test_names_from_files_are_no_markup(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    line = status_line(parent, "tip")
    line.setText("<h1>Cannot read '<img src=a.png>'</h1>")
    assert line.textFormat() == Qt.TextFormat.PlainText
