"""The panel Quantize on a model of a hundredth of the demo's size."""

import numpy as np
import pytest
import torch
from napari.layers import Layer
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox

from napari_qmedsam.checkpoints.header import read_card
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.checkpoints.state_dicts import read_state
from napari_qmedsam.gui.quantize.quantize_controls import (
    AVERAGE,
    BITS,
    OPEN_IMAGES,
    PER_CHANNEL,
    PER_GROUP,
    PER_LAYER,
    PHANTOMS,
)
from napari_qmedsam.gui.quantize.quantize_panel import QuantizePanel
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.models import build_model
from napari_qmedsam.models.fake_quantized.model import collect_statistics, fake_quantize
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.quantization.job import Budget
from napari_qmedsam.quantization.methods import NNCF
from napari_qmedsam.quantization.model_layers import quantizable_layers
from napari_qmedsam.runtime import BackendName, load_backend, nncf_subprocess

pytestmark = pytest.mark.gui


@pytest.fixture
def weights(tiny_config, tmp_path):
    torch.manual_seed(0)
    return save_model(build_model("tiny"), tmp_path / "tiny.safetensors")


@pytest.fixture
def panel(viewer, dock, weights):
    panel = dock(QuantizePanel(viewer))
    panel.controls.models.choose(str(weights), BackendName.TORCH.value)
    panel.controls.slices.setValue(2)
    yield panel
    panel.close_down()


@pytest.fixture
def finish(qtbot):
    def wait(panel):
        qtbot.waitUntil(lambda: not panel.worker.is_busy, timeout=60_000)

    return wait


def last_message():
    return notification_manager.records[-1].message


def choose(combo, data):
    combo.setCurrentIndex(combo.findData(data))


def quickly(panel):
    """Quantize by the cheapest method that looks at calibration inputs."""
    choose(panel.controls.method, "comq")
    panel.controls.sweeps.setValue(1)


def test_result_and_its_float_model_become_variants(panel, finish, weights):
    panel.controls.bits.setValue(3)
    panel.controls.sweeps.setValue(1)
    panel.controls.quantize.click()
    assert not panel.controls.quantize.isEnabled()
    finish(panel)
    float_variant, small = panel.state.variants
    assert float_variant.name == "tiny FP32"
    assert small.name == "tiny 3-bit P-COMQ"
    assert small.backend == BackendName.TORCH.value
    assert small.file_bytes < float_variant.file_bytes
    listed = panel.controls.variants
    assert listed.count() == 2
    assert listed.currentItem().text().startswith(small.name)
    assert panel.controls.status.text() == (
        f"{small.name}: {small.effective_bits:.2f} effective bits per weight, "
        f"{small.megabytes:.2f} MB."
    )
    layers = quantizable_layers(build_model("tiny"))
    assert len(panel.controls.plot.errors) == len(layers)
    card = read_card(small.model)
    assert card["source"]["file"] == weights.name
    errors = [layer["relative_error"] for layer in card["layers"].values()]
    assert panel.controls.plot.errors == errors
    assert panel.controls.plot.axes.get_xlim() == (0, len(layers) + 1)


def test_a_panel_opened_again_keeps_the_models_made_before(panel, finish):
    choose(panel.controls.method, "rtn")
    panel.controls.quantize.click()
    finish(panel)
    panel.close_down()
    again = QuantizePanel(panel.viewer)
    try:
        choose(again.controls.method, "rtn")
        again.controls.models.choose(panel.controls.models.choice().model, "torch")
        again.controls.bits.setValue(2)
        again.controls.quantize.click()
        finish(again)
        models = [v.model for v in again.state.variants if not v.is_float]
        assert len(models) == len(set(models)) == 2
    finally:
        again.close_down()


def test_second_result_does_not_add_the_float_model_again(panel, finish):
    choose(panel.controls.method, "rtn")
    for bits in (4, 2):
        panel.controls.bits.setValue(bits)
        panel.quantize()
        finish(panel)
    names = [v.name for v in panel.state.variants]
    assert names == ["tiny FP32", "tiny 4-bit RTN", "tiny 2-bit RTN"]


def test_open_images_calibrate(panel, volume, finish):
    quickly(panel)
    panel.controls.calibration.setCurrentText(OPEN_IMAGES)
    panel.quantize()
    assert last_message().startswith("There is no image to calibrate on.")
    panel.viewer.add_layer(Layer.create(*image_layer_data(volume, "bars")))
    panel.quantize()
    finish(panel)
    calibration = read_card(list(panel.state.variants)[-1].model)["calibration"]
    assert (calibration["kind"], calibration["slices"]) == ("volumes", 2)


def test_folder_calibrates(panel, volume, finish, tmp_path):
    from napari_qmedsam.volumes.writing import write_labels

    folder = tmp_path / "scans"
    folder.mkdir()
    positive = np.clip(volume.array, 0, None).astype(np.uint16)
    write_labels(positive, volume, folder / "scan.nii.gz")
    quickly(panel)
    panel.choose_folder(folder)
    panel.quantize()
    finish(panel)
    calibration = read_card(list(panel.state.variants)[-1].model)["calibration"]
    assert calibration["volumes"] == 1


def test_size_budget_keeps_to_it(panel, finish):
    choose(panel.controls.method, "rtn")
    panel.controls.slices.setValue(1)
    panel.controls.size_kind.setCurrentText(AVERAGE)
    panel.controls.amount.setValue(7.0)
    panel.quantize()
    finish(panel)
    small = list(panel.state.variants)[-1]
    assert small.effective_bits <= 7.0
    assert len(small.bit_widths) > 1


def test_cancelled_work_leaves_nothing(panel, finish, qtbot):
    panel.quantize()
    qtbot.waitUntil(lambda: panel.controls.progress.value() >= 2, timeout=60_000)
    fields = panel.controls.bits, panel.controls.method, panel.controls.slices
    assert not any(field.isEnabled() for field in fields)
    panel.controls.cancel.click()
    finish(panel)
    assert all(field.isEnabled() for field in fields)
    assert " stopped " in panel.controls.status.text()  # and where
    assert len(panel.state.variants) == 0
    assert list(panel.state.folder.iterdir()) == []
    assert panel.controls.quantize.isEnabled()


def test_saved_model_is_the_variant(panel, finish, tmp_path):
    choose(panel.controls.method, "rtn")
    panel.quantize()
    finish(panel)
    before = read_state(list(panel.state.variants)[-1].model)
    path = tmp_path / "mine.qmedsam.safetensors"
    panel.variants.save(path)
    finish(panel)
    assert list(panel.state.variants)[-1].model == str(path)
    after = read_state(path)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    panel.variants.save(tmp_path / "mine.bin")
    finish(panel)
    assert "must end in .qmedsam.safetensors" in last_message()
    panel.controls.variants.setCurrentRow(0)
    panel.variants.save(path)
    assert "is not quantized here" in last_message()


def test_loaded_file_is_a_variant_and_can_be_removed(panel, finish, weights, tmp_path):
    panel.variants.load_model(weights)
    finish(panel)
    assert panel.state.variants["tiny.safetensors"].is_float
    damaged = tmp_path / "x.pth"
    damaged.write_bytes(b"no model")
    panel.variants.load_model(damaged)
    finish(panel)
    assert "Cannot read weights from 'x.pth'" in last_message()
    assert panel.controls.variants.count() == 1
    panel.controls.variants.setCurrentRow(0)
    panel.controls.remove.click()
    assert len(panel.state.variants) == 0


@pytest.fixture
def qat_checkpoint(tiny_config, tmp_path):
    torch.manual_seed(0)
    model = fake_quantize(build_model("tiny"), FakeQuantSettings(7))
    image, boxes = torch.rand(1, 3, 64, 64), torch.tensor([[4.0, 6.0, 40.0, 50.0]])
    collect_statistics(model, [(image, boxes)])
    return save_model(model, tmp_path / "trained.safetensors")


def test_qat_checkpoint_is_a_variant_and_others_are_told_apart(
    panel, finish, qat_checkpoint, weights
):
    panel.variants.load_qat(qat_checkpoint)
    finish(panel)
    (trained,) = panel.state.variants
    assert (trained.method, trained.bits, trained.precision) == ("qat", "7", "int8")
    assert not trained.is_float
    assert trained.file_bytes == qat_checkpoint.stat().st_size
    panel.variants.load_qat(weights)
    finish(panel)
    assert "no checkpoint of quantization-aware training" in last_message()
    assert len(panel.state.variants) == 1


def test_nncf_is_offered_where_it_is_installed(viewer, dock, monkeypatch):
    for installed in (True, False):
        monkeypatch.setattr(nncf_subprocess, "is_installed", lambda on=installed: on)
        panel = dock(QuantizePanel(viewer))
        method = panel.controls.method
        assert (method.findData(NNCF) >= 0) == installed
        if installed:
            choose(method, NNCF)
            assert panel.controls.calibration.isEnabled()
            assert not panel.controls.bits.isEnabled()
            assert not panel.controls.granularity.isEnabled()
            choose(method, "comq")
            assert panel.controls.bits.isEnabled()


@pytest.mark.slow
def test_nncf_makes_graphs_in_int8(panel, finish, qtbot, tmp_path):
    pytest.importorskip("nncf")
    choose(panel.controls.method, NNCF)
    panel.quantize()
    qtbot.waitUntil(lambda: not panel.worker.is_busy, timeout=300_000)
    made = list(panel.state.variants)[-1]
    assert (made.name, made.method, made.bits) == ("tiny 8-bit NNCF", NNCF, "8")
    assert made.backend == BackendName.OPENVINO.value
    panel.variants.save(tmp_path / "graphs")
    finish(panel)
    assert list(panel.state.variants)[-1].model == str(tmp_path / "graphs")
    backend = load_backend(str(tmp_path / "graphs"))
    assert backend.info.precision == "int8"
    panel.variants.load_model(tmp_path / "graphs" / "encoder.xml")
    finish(panel)
    assert panel.state.variants["graphs"].precision == "int8"


def test_failure_in_the_other_process_is_told(panel, finish, monkeypatch):
    monkeypatch.setattr(nncf_subprocess, "is_installed", lambda: True)
    if panel.controls.method.findData(NNCF) < 0:
        panel.controls.method.addItem("NNCF int8", NNCF)
    monkeypatch.setattr(nncf_subprocess, "QUANTIZE", "import sys; sys.exit('no room')")
    choose(panel.controls.method, NNCF)
    panel.quantize()
    finish(panel)
    assert last_message() == "NNCF made no model: no room"
    assert len(panel.state.variants) == 0


def test_units_follow_the_method(panel):
    controls = panel.controls
    assert str(controls.settings().granularity) == "group:32"
    choose(controls.method, "comq")
    assert controls.granularity.currentData() == PER_CHANNEL
    assert not controls.permutation.isEnabled()
    choose(controls.method, "rtn")
    assert not controls.calibration.isEnabled()
    choose(controls.method, "permutation-comq")
    assert controls.granularity.currentData() == PER_GROUP
    choose(controls.permutation, "elements")
    assert controls.granularity.currentData() == PER_CHANNEL
    assert controls.settings().permutation == "elements"
    choose(controls.permutation, "rows")
    choose(controls.granularity, "layer")
    panel.quantize()
    assert "Permuting rows changes nothing" in last_message()
    assert controls.size_kind.currentText() == BITS
    assert controls.calibration.currentText() == PHANTOMS


def again_after_a_start(panel):
    panel.close_down()
    return QuantizePanel(panel.viewer)


def test_choices_are_remembered(panel, weights, tmp_path, qtbot):
    controls = panel.controls
    choose(controls.method, "comq")
    choose(controls.granularity, PER_LAYER)
    controls.size_kind.setCurrentText(AVERAGE)
    controls.amount.setValue(5.5)
    controls.sweeps.setValue(7)
    panel.choose_folder(tmp_path)
    before = controls.settings()
    again = again_after_a_start(panel)
    qtbot.addWidget(again)
    assert again.controls.models.choice() == controls.models.choice()
    assert again.controls.settings() == before
    assert again.controls.budget() == Budget(average_bits=5.5)
    assert (again._plan().path, again._plan().slices) == (tmp_path, 2)
    again.close_down()


def test_units_that_differ_from_the_methods_own_are_remembered(panel, qtbot):
    controls = panel.controls
    choose(controls.permutation, "elements")
    choose(controls.granularity, PER_GROUP)
    controls.group_size.setValue(16)
    controls.bits.setValue(2)
    before = controls.settings()
    again = again_after_a_start(panel)
    qtbot.addWidget(again)
    assert again.controls.settings() == before
    again.close_down()


def test_what_is_gone_is_not_remembered(panel, weights, tmp_path, qtbot, monkeypatch):
    monkeypatch.setattr(nncf_subprocess, "is_installed", lambda: True)
    if panel.controls.method.findData(NNCF) < 0:
        panel.controls.method.addItem("NNCF int8", NNCF)
    choose(panel.controls.method, NNCF)
    folder = tmp_path / "scans"
    folder.mkdir()
    panel.choose_folder(folder)
    folder.rmdir()
    weights.unlink()
    monkeypatch.setattr(nncf_subprocess, "is_installed", lambda: False)
    again = again_after_a_start(panel)
    qtbot.addWidget(again)
    assert again.controls.models.choice().model == "demo"
    assert again.controls.method.currentData() == "permutation-comq"
    assert again.controls.calibration.currentText() == PHANTOMS
    again.close_down()


def test_every_control_says_what_it_is_in_one_sentence(panel):
    kinds = (QAbstractButton, QAbstractSpinBox, QComboBox)
    # Scroll bars and the like bring buttons of their own.
    own = [w for kind in kinds for w in panel.findChildren(kind) if w.toolTip()]
    named = vars(panel.controls).values()
    for control in (w for w in named if isinstance(w, kinds)):
        assert control in own
        tip = control.toolTip()
        assert tip.endswith(".")
        assert ". " not in tip


def test_closing_the_window_during_work_ends_it(window, panel, qtbot, told_to_stop):
    panel.quantize()
    qtbot.waitUntil(lambda: panel.controls.progress.value() >= 2, timeout=60_000)
    with told_to_stop(panel.worker):
        window.close()


def test_closing_the_dock_during_work_ends_it(window, panel, qtbot, told_to_stop):
    panel.quantize()
    qtbot.waitUntil(lambda: panel.controls.progress.value() >= 2, timeout=60_000)
    with told_to_stop(panel.worker):
        window.window.remove_dock_widget(panel)


def test_plot_follows_the_theme(panel):
    before = panel.controls.plot.figure.get_facecolor()
    panel.viewer.theme = "light"
    assert panel.controls.plot.figure.get_facecolor() != before
