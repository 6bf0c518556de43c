"""The fields that choose a model and a runtime, and load it."""

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QGridLayout, QPushButton, QWidget

from napari_qmedsam.checkpoints import default_model
from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.checkpoints.default_model import AUTO
from napari_qmedsam.checkpoints.download import is_at_hand
from napari_qmedsam.gui.shared.forms import ask_for
from napari_qmedsam.gui.shared.loading import ModelChoice, model_of
from napari_qmedsam.gui.shared.recent_models import recent_models, use_model
from napari_qmedsam.runtime import BackendName, Precision, Runtime
from napari_qmedsam.runtime.loading import precisions

FILE, FOLDER = "File…", "Folder…"
"""The entries that ask for a weights file, and for a folder with an exported model."""

FILE_FILTER = (
    "Models (*.pth *.pt *.bin *.safetensors *.onnx *.xml);;"
    "Weights and checkpoints (*.pth *.pt *.bin *.safetensors);;"
    "Exported graphs (*.onnx *.xml);;All files (*)"
)


class ModelCombo(QComboBox):
    """Tells that it is about to be opened."""

    opening = Signal()

    def showPopup(self) -> None:
        """Open, after others had a chance to add entries."""
        self.opening.emit()
        super().showPopup()


class ModelForm(QWidget):
    """Model, runtime and precision side by side, and a button that loads."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = ""
        """Where the dialogs open."""
        self.model = ModelCombo(self)
        self.model.setToolTip("Model that turns boxes into masks.")
        self.model.addItem(AUTO, AUTO)
        self.model.setItemData(0, "The best model.", Qt.ItemDataRole.ToolTipRole)
        for entry in CATALOGUE.values():
            self.model.addItem(entry.name, entry.name)
            last = self.model.count() - 1
            tip = entry.title if is_at_hand(entry) else f"{entry.title} (download)"
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
        ask_for(self.model, 4)
        self.backend = QComboBox(self)
        self.backend.setToolTip("Software that runs the model.")
        for name in BackendName:
            self.backend.addItem(name.entry.title, name.value)
        ask_for(self.backend, 4)
        self.precision = QComboBox(self)
        self.precision.setToolTip(
            "Numbers that the model calculates with: fp32, the reference; bf16, if the "
            "processor has it; int8 where the model has that form; fast, for packed "
            "weights. auto tries them and takes the fastest that gives the masks of "
            "fp32. Quantized files run as they were made."
        )
        ask_for(self.precision, 3)
        self.load = QPushButton("Load", self)
        self.load.setToolTip(
            "Load the model now, downloading it first if it is not here. Cancel keeps "
            "what came from a web address, and the next time goes on from there."
        )
        self.load.setMinimumWidth(44)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(6)
        layout.addWidget(self.model, 0, 0)
        layout.addWidget(self.backend, 0, 1)
        layout.addWidget(self.precision, 1, 0)
        layout.addWidget(self.load, 1, 1)
        layout.setColumnStretch(0, 4)
        layout.setColumnStretch(1, 3)
        self._previous = 0
        self._offer_recent()
        self.model.opening.connect(self._offer_recent)
        self.model.activated.connect(self._activated)
        self.model.currentIndexChanged.connect(self._model_chosen)
        self.backend.currentIndexChanged.connect(lambda _: self._backend_chosen())
        self.precision.activated.connect(lambda _: self.changed.emit())
        self._offer_precisions()

    def choice(self) -> ModelChoice:
        """Return what is chosen, as the model that `auto` stands for."""
        precision = Precision(self.precision.currentData())
        return ModelChoice(self._name(), self._runtime(precision))

    @property
    def chosen(self) -> str:
        """The entry that is chosen, for the next start."""
        return self.model.currentData()

    def _name(self) -> str:
        return default_model.DEFAULT.name if self.chosen == AUTO else self.chosen

    def _runtime(self, precision: Precision = Precision.FP32) -> Runtime:
        return Runtime(BackendName(self.backend.currentData()), precision=precision)

    def needs_download(self) -> bool:
        """Tell whether the chosen model is not on this machine yet."""
        entry = CATALOGUE.get(self._name())
        return entry is not None and not is_at_hand(entry)

    def choose_again(
        self, model: str, backend: str, precision: str = Precision.FP32.value
    ) -> None:
        """Choose what was chosen in an earlier start, if it is still there."""
        if model == AUTO or model in CATALOGUE or Path(model).exists():
            self.choose(model, backend, precision)

    def choose(
        self, model: str, backend: str | None = None, precision: str | None = None
    ) -> None:
        """Choose a model by name, weights file or folder, a runtime and a precision."""
        if model != AUTO and model not in CATALOGUE:
            use_model(model)
        index = self._offer_file(model)
        self.model.setCurrentIndex(index)
        self._previous = index
        if backend is not None and self.backend.findData(backend) >= 0:
            self.backend.setCurrentIndex(self.backend.findData(backend))
        if precision is not None and self.precision.findData(precision) >= 0:
            self.precision.setCurrentIndex(self.precision.findData(precision))
        self.changed.emit()

    def _offer_file(self, model: str) -> int:
        """Offer a file or folder, if it is not yet; return the entry's index."""
        index = self.model.findData(model)
        if index < 0:
            index = self.model.findText(FILE)
            self.model.insertItem(index, Path(model).name, model)
            self.model.setItemData(index, model, Qt.ItemDataRole.ToolTipRole)
        return index

    def _offer_recent(self) -> None:
        """Offer what any panel has used before."""
        for path in recent_models():
            self._offer_file(path)

    def _offer_precisions(self) -> None:
        """Offer int8 where it can be had; where there is no choice, none."""
        model, chosen = self._name(), self.precision.currentData()
        if model is None:
            return  # a dialog is about to ask for a file
        offered = precisions(model, self._runtime())
        self.precision.clear()
        for precision in offered:
            as_made = precision is Precision.FP32 and model not in CATALOGUE
            title = "file" if as_made else precision.value  # only the file knows
            self.precision.addItem(title, precision.value)
        self.precision.setCurrentIndex(max(0, self.precision.findData(chosen)))
        self.precision.setEnabled(len(offered) > 1)

    def _model_chosen(self) -> None:
        """Offer what the model has, and begin with what it is by itself."""
        self.precision.clear()
        self._offer_precisions()

    def _backend_chosen(self) -> None:
        self._offer_precisions()
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
            self.choose(model_of(path))
        else:
            self.model.setCurrentIndex(self._previous)
