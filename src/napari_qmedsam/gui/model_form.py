"""The fields that choose a model and a runtime."""

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QWidget

from napari_qmedsam.gui.loading import ModelChoice
from napari_qmedsam.models.catalogue import CATALOGUE
from napari_qmedsam.runtime.protocol import BackendName

FILE = "File…"
"""The entry that asks for a weights file."""

BACKEND_TITLES = {BackendName.OPENVINO: "OpenVINO", BackendName.TORCH: "torch"}


class ModelForm(QWidget):
    """Model and runtime side by side."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = QComboBox(self)
        self.model.setToolTip("Model that turns boxes into masks.")
        for entry in CATALOGUE.values():
            self.model.addItem(entry.name, entry.name)
            last = self.model.count() - 1
            self.model.setItemData(last, entry.title, Qt.ItemDataRole.ToolTipRole)
        self.model.addItem(FILE)
        self.model.setMinimumContentsLength(12)
        self.backend = QComboBox(self)
        self.backend.setToolTip("Software that runs the model.")
        for name, title in BACKEND_TITLES.items():
            self.backend.addItem(title, name.value)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.model, 3)
        layout.addWidget(self.backend, 2)
        self._previous = 0
        self.model.activated.connect(self._activated)
        self.backend.currentIndexChanged.connect(lambda _: self.changed.emit())

    def choice(self) -> ModelChoice:
        """Return what is chosen."""
        return ModelChoice(self.model.currentData(), self.backend.currentData())

    def choose(self, model: str, backend: str | None = None) -> None:
        """Choose a model by name or weights file, and a runtime."""
        index = self.model.findData(model)
        if index < 0:
            index = self.model.count() - 1
            self.model.insertItem(index, Path(model).name, model)
            self.model.setItemData(index, model, Qt.ItemDataRole.ToolTipRole)
        self.model.setCurrentIndex(index)
        self._previous = index
        if backend is not None:
            self.backend.setCurrentIndex(self.backend.findData(backend))
        self.changed.emit()

    def _activated(self, index: int) -> None:
        if self.model.itemData(index) is not None:
            self._previous = index
            self.changed.emit()
            return
        path, _ = QFileDialog.getOpenFileName(
            self, "Choose a weights file", "", "Weights (*.pth *.pt *.safetensors)"
        )
        if path:
            self.choose(path)
        else:
            self.model.setCurrentIndex(self._previous)
