"""The fields that choose a model and a runtime, and load it."""

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QPushButton, QWidget

from napari_qmedsam.gui.loading import ModelChoice
from napari_qmedsam.models.catalogue import CATALOGUE
from napari_qmedsam.models.download import is_fetched
from napari_qmedsam.runtime.protocol import BackendName

FILE, FOLDER = "File…", "Folder…"
"""The entries that ask for a weights file, and for a folder with an exported model."""

FILE_FILTER = (
    "Models (*.pth *.pt *.safetensors *.onnx *.xml);;"
    "Weights and checkpoints (*.pth *.pt *.safetensors);;"
    "Exported graphs (*.onnx *.xml);;All files (*)"
)

BACKEND_TITLES = {"openvino": "OpenVINO", "torch": "torch", "onnxruntime": "ONNX"}
"""Runtimes as the panel says them; one that is new goes by its own name."""


class ModelForm(QWidget):
    """Model and runtime side by side, and a button that loads."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = ""
        """Where the dialogs open."""
        self.model = QComboBox(self)
        self.model.setToolTip("Model that turns boxes into masks.")
        for entry in CATALOGUE.values():
            self.model.addItem(entry.name, entry.name)
            last = self.model.count() - 1
            tip = entry.title if is_fetched(entry) else f"{entry.title} (download)"
            self.model.setItemData(last, tip, Qt.ItemDataRole.ToolTipRole)
        self.model.addItem(FILE)
        self.model.setItemData(
            self.model.count() - 1,
            "Float weights, a quantized model, a training checkpoint or a graph.",
            Qt.ItemDataRole.ToolTipRole,
        )
        self.model.addItem(FOLDER)
        self.model.setItemData(
            self.model.count() - 1,
            "A folder with an exported model in ONNX or OpenVINO form.",
            Qt.ItemDataRole.ToolTipRole,
        )
        self.model.setMinimumContentsLength(9)
        self.model.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.backend = QComboBox(self)
        self.backend.setToolTip("Software that runs the model.")
        for name in BackendName:
            self.backend.addItem(BACKEND_TITLES.get(name.value, name.value), name.value)
        self.load = QPushButton("Load", self)
        self.load.setToolTip(
            "Load the model now, downloading it first if it is not here; Cancel keeps "
            "the part that came, and the next time goes on from there."
        )
        self.load.setMinimumWidth(44)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.model, 4)
        layout.addWidget(self.backend, 3)
        layout.addWidget(self.load, 2)
        self._previous = 0
        self.model.activated.connect(self._activated)
        self.backend.currentIndexChanged.connect(lambda _: self.changed.emit())

    def choice(self) -> ModelChoice:
        """Return what is chosen."""
        return ModelChoice(self.model.currentData(), self.backend.currentData())

    def needs_download(self) -> bool:
        """Tell whether the chosen model is not on this machine yet."""
        entry = CATALOGUE.get(self.model.currentData())
        return entry is not None and not is_fetched(entry)

    def choose(self, model: str, backend: str | None = None) -> None:
        """Choose a model by name, weights file or folder, and a runtime."""
        index = self.model.findData(model)
        if index < 0:
            index = self.model.findText(FILE)
            self.model.insertItem(index, Path(model).name, model)
            self.model.setItemData(index, model, Qt.ItemDataRole.ToolTipRole)
        self.model.setCurrentIndex(index)
        self._previous = index
        if backend is not None and self.backend.findData(backend) >= 0:
            self.backend.setCurrentIndex(self.backend.findData(backend))
        self.changed.emit()

    def _activated(self, index: int) -> None:
        if self.model.itemData(index) is not None:
            self._previous = index
            self.changed.emit()
            return
        if self.model.itemText(index) == FILE:
            path, _ = QFileDialog.getOpenFileName(
                self, "Choose a model file", self.folder, FILE_FILTER
            )
        else:
            path = QFileDialog.getExistingDirectory(
                self, "Choose a folder with an exported model", self.folder
            )
        if path:
            self.folder = str(Path(path).parent)
            self.choose(path)
        else:
            self.model.setCurrentIndex(self._previous)
