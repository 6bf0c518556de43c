"""The list of variants in the panel "Quantize", and their files."""

import shutil
from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QListWidgetItem, QWidget

from napari_qmedsam.checkpoints.packed.model_file import SUFFIX
from napari_qmedsam.disk import atomic_files
from napari_qmedsam.errors import BadCheckpoint, InvalidSettings
from napari_qmedsam.evaluation.variants import QAT, Variant, variant_of
from napari_qmedsam.gui.quantize.quantize_controls import QuantizeControls
from napari_qmedsam.gui.shared.loading import model_of
from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.gui.shared.recent_models import use_model
from napari_qmedsam.gui.shared.viewer_state import ViewerState
from napari_qmedsam.gui.shared.work import Work
from napari_qmedsam.gui.shared.worker import Report

WEIGHTS_FILTER = "Weights (*.pth *.pt *.bin *.safetensors)"
MODEL_FILTER = (
    "Models (*.pth *.pt *.bin *.safetensors *.onnx *.xml);;"
    f"{WEIGHTS_FILTER};;Exported graphs (*.onnx *.xml)"
)
QUANTIZED_FILTER = f"Quantized model (*{SUFFIX})"

NAME_ROLE = Qt.ItemDataRole.UserRole
"""Where an item of the list keeps the name of its variant."""


class VariantList:
    """Shows the variants that the panels share; adds, saves and removes them.

    Parameters
    ----------
    parent : QWidget
        Owner of the file dialogs.
    controls : QuantizeControls
    work : Work
        Runs what takes long.
    state : ViewerState
    """

    def __init__(
        self,
        parent: QWidget,
        controls: QuantizeControls,
        work: Work,
        state: ViewerState,
    ) -> None:
        self.controls, self.work, self.state = controls, work, state
        self._parent, self._list = parent, controls.variants
        state.variants_changed.connect(self.show)
        self.show()

    def add(self, variants: list[Variant]) -> None:
        """Put what a job made on the list, and choose the last of it."""
        kept = [self.state.variants.add(variant) for variant in variants]
        self.state.variants_changed.emit()
        last = kept[-1]
        self._list.setCurrentRow(self._list.count() - 1)
        bits = (
            last.stored_bits or f"{last.effective_bits:.2f} effective bits per weight,"
        )
        self.controls.status.setText(f"{last.name}: {bits} {last.megabytes:.2f} MB.")

    def show(self) -> None:
        """Fill the list anew; the chosen variant stays chosen."""
        listed = self._list
        chosen = listed.currentItem()
        name = None if chosen is None else chosen.data(NAME_ROLE)
        listed.clear()
        for variant in self.state.variants:
            bits = f"{variant.effective_bits:.2f} bits"
            if variant.stored_bits:
                bits = f"{variant.bits} bits as it runs"
            item = QListWidgetItem(
                f"{variant.name} · {bits} · {variant.megabytes:.2f} MB"
            )
            item.setData(NAME_ROLE, variant.name)
            item.setToolTip(
                "\n".join(filter(None, [variant.model, variant.stored_bits]))
            )
            listed.addItem(item)
            if variant.name == name:
                listed.setCurrentItem(item)

    def load_model(self, path: str | Path | None = None) -> None:
        """Add a weights file or exported graphs as a variant; without path, ask."""
        self._load(path or self._ask_for_file("Load a model", MODEL_FILTER))

    def load_qat(self, path: str | Path | None = None) -> None:
        """Add a checkpoint of quantization-aware training; without path, ask."""
        title = "Load a checkpoint of quantization-aware training"
        self._load(path or self._ask_for_file(title, WEIGHTS_FILTER), QAT)

    def _load(self, path: str | Path, method: str | None = None) -> None:
        if not path:
            return
        model = Path(model_of(path))
        backend = self.controls.models.choice().backend
        variants: list[Variant] = []

        def job(report: Report) -> None:
            name = model.name.removesuffix(SUFFIX)
            variant = variant_of(str(model), name, backend=backend)
            if method not in (None, variant.method):
                raise InvalidSettings(
                    f"'{model.name}' is no checkpoint of quantization-aware training: "
                    "it holds no scales of activations. Add it with Load model."
                )
            variants.append(variant)
            use_model(str(model))

        self.work.start(job, f"Reading {model.name}…", partial(self.add, variants))

    def save(self, path: str | Path | None = None) -> None:
        """Write the chosen quantized variant to a file; without path, ask."""
        with errors_shown(self.work.said.emit):
            variant = self._chosen()
            source = Path(variant.model)
            if not (source.is_dir() or variant.model.endswith(SUFFIX)):
                raise InvalidSettings(
                    f"'{variant.name}' is not quantized here: its file is "
                    f"'{variant.model}' already."
                )
            path = path or self._ask_where_to_save(variant)
            if not path:
                return
            target = Path(path)

            def job(report: Report) -> None:
                copy_model(source, target)

            def saved() -> None:
                use_model(str(target))
                self.state.variants.change(variant.name, model=str(target))
                self.controls.status.setText(f"Saved {target}.")

            self.work.start(job, f"Saving {target.name}…", saved)

    def remove(self) -> None:
        """Take the chosen variant off the list."""
        with errors_shown(self.work.said.emit):
            self.state.variants.remove(self._chosen().name)
            self.state.variants_changed.emit()

    def close_down(self) -> None:
        """Follow the variants no longer."""
        self.state.variants_changed.disconnect(self.show)

    def _chosen(self) -> Variant:
        item = self._list.currentItem()
        if item is None:
            raise InvalidSettings("Choose a variant in the list first.")
        return self.state.variants[item.data(NAME_ROLE)]

    def _ask_for_file(self, title: str, filters: str) -> str:
        path, _ = QFileDialog.getOpenFileName(self._parent, title, "", filters)
        return path

    def _ask_where_to_save(self, variant: Variant) -> str:
        stem = variant.name.replace(" ", "-")
        if Path(variant.model).is_dir():
            path, _ = QFileDialog.getSaveFileName(
                self._parent, "Save as a folder", stem
            )
            return path
        start = f"{stem}{SUFFIX}"
        path, _ = QFileDialog.getSaveFileName(
            self._parent, "Save the quantized model", start, QUANTIZED_FILTER
        )
        if not path or path.endswith(SUFFIX):
            return path
        return f"{path.removesuffix('.safetensors')}{SUFFIX}"


def copy_model(source: Path, target: Path) -> None:
    """Copy a model file or folder, whole or not at all.

    Raises
    ------
    BadCheckpoint
        If it cannot be written, or is not called as model files are.
    """
    if source.is_file() and not target.name.endswith(SUFFIX):
        raise BadCheckpoint(f"The file '{target.name}' must end in {SUFFIX}.")
    copy = shutil.copytree if source.is_dir() else shutil.copyfile
    try:
        with atomic_files(target.parent, last=target.name) as scratch:
            copy(source, scratch / target.name)
    except OSError as error:
        raise BadCheckpoint(f"Cannot write '{target}': {error}.") from error
