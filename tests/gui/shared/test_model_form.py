"""Models of every kind, chosen in the real form, loaded and run by the real panel."""

import numpy as np
import pytest
import torch
from napari.layers import Layer
from qtpy.QtWidgets import QFileDialog

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.gui.shared.loading import ModelChoice
from napari_qmedsam.gui.shared.model_form import FILE, FOLDER, ModelForm
from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.models import build_model
from napari_qmedsam.models.fake_quantized.model import collect_statistics, fake_quantize
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime import Precision, Runtime, nncf_subprocess
from napari_qmedsam.runtime.exporting import ExportFormat, export_model

pytestmark = pytest.mark.gui


@pytest.fixture
def form(qtbot):
    form = ModelForm()
    qtbot.addWidget(form)
    return form


@pytest.fixture
def trained(tiny_config, tmp_path):
    """A checkpoint of quantization-aware training, as a file of ours."""
    torch.manual_seed(0)
    model = fake_quantize(build_model("tiny"), FakeQuantSettings(7))
    image, boxes = torch.rand(1, 3, 64, 64), torch.tensor([[4.0, 6.0, 40.0, 50.0]])
    collect_statistics(model, [(image, boxes)])
    return save_model(model, tmp_path / "trained.safetensors")


@pytest.fixture
def dialog_gives(monkeypatch):
    """Let the dialogs of the form answer with a path."""

    def answer(path):
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(path))

    return answer


def offered(form):
    return [form.precision.itemText(i) for i in range(form.precision.count())]


def ask(form, entry):
    """Choose an entry as a click does."""
    index = form.model.findText(entry)
    form.model.setCurrentIndex(index)
    form.model.activated.emit(index)


@pytest.fixture
def nncf(monkeypatch):
    """Let NNCF be installed, or not."""

    def let(is_installed):
        monkeypatch.setattr(nncf_subprocess, "is_installed", lambda: is_installed)

    return let


def test_int8_is_offered_where_the_model_has_it(form, nncf):
    nncf(False)
    form.choose("demo")
    assert offered(form) == ["fp32", "bf16", "int8", "auto"]
    assert form.precision.isEnabled()
    form.choose("demo", precision="int8")
    assert form.choice().loaded_name == "demo-qat"
    form.choose("medsam_vit_b")
    assert offered(form) == ["fp32", "bf16", "auto"]
    assert form.choice().precision == "fp32"
    form.choose("demo-qat")
    assert (offered(form), form.precision.isEnabled()) == (["int8"], False)
    form.choose("/somewhere/mine.pth")
    assert offered(form) == ["file", "bf16", "auto"]
    form.choose("/somewhere/mine.pth", "onnxruntime")
    assert (offered(form), form.precision.isEnabled()) == (["file"], False)


def test_int8_is_offered_where_nncf_can_make_it(form, nncf):
    nncf(True)
    form.choose("lite_medsam", "openvino")
    assert offered(form) == ["fp32", "bf16", "int8", "auto"]
    form.choose("lite_medsam", precision="int8")
    assert form.choice() == ModelChoice(
        "lite_medsam", Runtime(precision=Precision.INT8)
    )
    form.choose("lite_medsam", "torch")
    assert offered(form) == ["fp32", "bf16", "auto"]
    assert form.choice().precision == "fp32"
    form.choose("/somewhere/mine.pth", "openvino")
    assert offered(form) == ["file", "bf16", "int8", "auto"]


def test_a_dialog_that_is_cancelled_changes_nothing(form, dialog_gives):
    form.choose("demo", "torch", "int8")
    before = form.choice()
    dialog_gives("")
    ask(form, FILE)
    ask(form, FOLDER)
    assert form.choice().model == before.model


@pytest.fixture
def loaded(viewer, dock, volume, dialog_gives, qtbot, monkeypatch, tmp_path):
    """Choose a path in the panel's form, press Load, segment a slice."""
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path / "cache"))
    viewer.add_layer(Layer.create(*image_layer_data(volume, "bars")))
    panel = dock(SegmentPanel(viewer))
    panel.controls.automatic.setChecked(False)
    form = panel.controls.models

    def load(path, entry, backend):
        form.backend.setCurrentIndex(form.backend.findData(backend))
        dialog_gives(path)
        ask(form, entry)
        form.load.click()
        qtbot.waitUntil(lambda: not panel.work.is_busy, timeout=120_000)
        info = panel.runner.models.segmenter.backend.info
        panel.workspace.view.go_to(2)
        panel.workspace.draw_boxes().add_rectangles(
            rectangle(2, Box2D(3, 8, 27, 22), 3)
        )
        panel.segment_slice()
        qtbot.waitUntil(lambda: not panel.work.is_busy, timeout=120_000)
        shown = panel.workspace.view.number(2)
        assert panel.controls.status.text() == f"Done, slice {shown}."
        return info, panel.controls.runs.text()

    yield load
    panel.close_down()


def test_brevitas_checkpoint_is_loaded(loaded, tmp_path):
    path = tmp_path / "brevitas.pth"
    torch.save(resolve_model("demo-qat").build().state_dict(), path)
    info, runs = loaded(path, FILE, "torch")
    assert (info.model, info.backend, info.precision) == (
        "brevitas.pth",
        "torch",
        "int8",
    )
    assert runs.startswith("brevitas.pth · torch int8 on CPU · ")


def test_one_graph_of_an_onnx_pair_stands_for_both(loaded, trained, tmp_path):
    pytest.importorskip("onnx", reason="extra onnx")
    pytest.importorskip("onnxruntime", reason="extra onnx")
    folder = tmp_path / "qcdq"
    export_model(resolve_model(str(trained)), ExportFormat.ONNX_QCDQ, folder)
    info, runs = loaded(folder / "encoder.onnx", FILE, "onnxruntime")
    assert (info.model, info.backend, info.precision) == ("qcdq", "onnxruntime", "int8")
    assert runs.startswith("qcdq · onnxruntime int8 on CPU · ")


def test_folder_of_openvino_graphs_is_loaded(loaded, trained, tmp_path):
    folder = tmp_path / "ir"
    export_model(resolve_model(str(trained)), ExportFormat.OPENVINO, folder)
    info, runs = loaded(folder, FOLDER, "openvino")
    assert (info.model, info.backend, info.precision) == ("ir", "openvino", "int8")
    assert np.isfinite(info.memory_bytes)
    assert runs.startswith("ir · openvino int8 on CPU · ")


def test_a_file_used_in_one_panel_is_offered_in_all(qtbot, tmp_path):
    one, other = ModelForm(), ModelForm()
    for form in (one, other):
        qtbot.addWidget(form)
    path = tmp_path / "mine.safetensors"
    path.touch()
    one.choose(str(path))
    other.show()
    other.model.showPopup()
    other.model.hidePopup()
    assert other.model.findData(str(path)) >= 0
    assert other.model.currentData() != str(path)
    later = ModelForm()
    qtbot.addWidget(later)
    assert later.model.findData(str(path)) >= 0
    path.unlink()
    gone = ModelForm()
    qtbot.addWidget(gone)
    assert gone.model.findData(str(path)) < 0
