"""The tutorial's session in a window, through the widgets: from sample to table."""

import csv

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtWidgets import QApplication

from napari_qmedsam.gui.compare.compare_panel import ComparePanel
from napari_qmedsam.gui.files import read_layers
from napari_qmedsam.gui.quantize.quantize_panel import QuantizePanel
from napari_qmedsam.gui.samples import ct_phantom, phantom
from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.layers import labels_layer_data
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.volume import Modality

pytestmark = pytest.mark.gui

ORGANS = ("spleen", "left kidney", "aorta")


def test_sample_to_table(make_napari_viewer, qtbot, tmp_path, drag):
    viewer = make_napari_viewer()

    def dock(panel):
        viewer.window.add_dock_widget(panel)
        return panel

    def finish(worker):
        qtbot.waitUntil(lambda: not worker.is_busy, timeout=120_000)

    # Open the CT sample, with its reference.
    case = phantom(Modality.CT)
    reference = case.labels.array
    for layer in (
        *ct_phantom(),
        labels_layer_data(reference, case.volume, "reference"),
    ):
        viewer.add_layer(Layer.create(*layer))
    ids = {name: i for i, name in case.names.items()}
    areas = [(reference == ids[name]).sum(axis=(1, 2)) for name in ORGANS]
    middle = int(np.argmax(np.min(areas, axis=0)))

    # Draw three boxes and fill in 3D.
    segment = dock(SegmentPanel(viewer))
    segment.controls.automatic.setChecked(False)
    segment.controls.models.choose("demo", "torch")
    segment.workspace.view.go_to(middle)
    for number, name in enumerate(ORGANS, 1):
        segment.controls.draw.click()
        slab = reference[middle - 1 : middle + 2] == ids[name]
        box = Box2D.enclosing(slab.any(axis=0))
        drag(segment.workspace.box_layer.layer, middle, box)
        segment.edits.rename(number, name)
        segment.edits.set_range(number, middle - 1, middle + 2)
    session = segment.workspace.session
    assert [o.name for o in session.objects.values()] == list(ORGANS)
    segment.controls.table.clearSelection()  # all of them
    segment.controls.on_range.click()
    finish(segment.work)
    labels = segment.workspace.labels_layer.layer
    painted = np.flatnonzero(labels.data.any(axis=(1, 2)))
    assert list(painted) == [middle - 1, middle, middle + 1]
    assert set(np.unique(labels.data)) == {0, 1, 2, 3}
    filled = labels.data.copy()

    # Correct a slice with the brush, and propagate it.
    spleen = np.argwhere(reference[middle] == ids["spleen"])
    y, x = spleen.mean(axis=0).astype(int)
    labels.brush_size = 5
    labels.paint((middle, y, x), 1)
    corrected = labels.data[middle].copy()
    assert corrected[y, x] == 1
    segment.controls.table.selectRow(0)
    segment.controls.up.click()
    finish(segment.work)
    np.testing.assert_array_equal(labels.data[middle], corrected)
    np.testing.assert_array_equal(labels.data[: middle - 1], filled[: middle - 1])

    # Quantize to 4 and 2 bits.
    quantize = dock(QuantizePanel(viewer))
    quantize.controls.models.choose("demo", "torch")
    method = quantize.controls.method
    method.setCurrentIndex(method.findData("rtn"))
    for bits in (4, 2):
        quantize.controls.bits.setValue(bits)
        quantize.controls.quantize.click()
        finish(quantize.worker)
    names = session.variants.names
    assert names == ["demo FP32", "demo 4-bit RTN", "demo 2-bit RTN"]

    # Compare with the labels.
    compare = dock(ComparePanel(viewer))
    assert compare.controls.labels.currentText() == "reference"
    compare.controls.compare.click()
    finish(compare.worker)
    results = compare.views.comparison.results
    assert list(results) == names
    found = [o.reference_id for o in compare.views.comparison.objects]
    assert found == [ids[name] for name in ORGANS]
    whole, four, two = results.values()
    assert whole.mean.dsc > 0.5
    assert two.mean.dsc < four.mean.dsc
    compare.controls.table.selectRow(2)
    assert segment.workspace.view.slice_index == two.worst_slice[1]
    compare.controls.copy_csv.click()
    copied = QApplication.clipboard().text()

    # Save labels and table.
    segment.save_labels(tmp_path / "labels.nii.gz")
    finish(segment.work)
    compare.export.save(tmp_path / "table.csv")
    quantize.variants.save(tmp_path / "two.qmedsam.safetensors")
    finish(quantize.worker)

    # Read them again.
    saved = nib.load(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(np.asarray(saved.dataobj).T, labels.data)
    np.testing.assert_allclose(saved.affine, case.volume.affine, atol=1e-6)
    ((data, _, kind),) = read_layers(str(tmp_path / "labels.nii.gz"))
    assert kind == "labels"
    np.testing.assert_array_equal(data, labels.data)
    text = (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert text == copied
    rows = list(csv.DictReader(text.splitlines()))
    assert [r["variant"] for r in rows[:3]] == names
    assert float(rows[2]["DSC %"]) == pytest.approx(100 * two.mean.dsc, abs=0.005)
    segment.controls.models.choose(str(tmp_path / "two.qmedsam.safetensors"), "torch")
    segment.controls.table.clearSelection()
    segment.undo()
    segment.controls.on_range.click()
    finish(segment.work)
    # What the 2-bit model gives from its file is what was compared.
    np.testing.assert_array_equal(labels.data, two.labels)
    for panel in (segment, quantize, compare):
        viewer.window.remove_dock_widget(panel)
