"""Go through the window as a user would, with real mouse and keys, and time it.

Needs a display; without one::

    scripts/headless.sh .venv/bin/python scripts/tour.py SCAN LABELS --out FOLDER

The sample; a scan with the model that *auto* takes, three of its labels boxed on one
slice and propagated both ways; a report and scores; all planes; a DICOM series made
from the scan, its rows stored the other way round; a variant with fewer bits; both
compared by the labels of the scan, which lie the other way round; saved, and opened in
another window. Each step leaves a picture in both themes and a line with its seconds:
those on the clock, and those that the processor worked. Weights that are given are
what *auto* takes; without any it is the demo model.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from screenshots import finish, settle

THEMES = "dark", "light"
MARGIN = 2
"""Pixels between an organ and the box that is drawn around it."""


class Tour:
    """A window, the pictures that are taken of it, and what took how long."""

    def __init__(self, viewer, folder):
        self.viewer, self.folder, self.lines = viewer, folder, []

    @property
    def window(self):
        """The main window."""
        return self.viewer.window._qt_window

    @contextmanager
    def step(self, name, text, widget=None):
        """Time what is done in a block and take pictures at its end."""
        clock, work = time.perf_counter(), time.process_time()
        yield
        clock, work = time.perf_counter() - clock, time.process_time() - work
        line = f"{clock:7.1f} s  {work:7.1f} CPU s  {text}"
        self.lines.append(line)
        print(line, flush=True)
        for theme in THEMES:
            self.viewer.theme = theme
            settle(0.7)
            shown = self.window if widget is None else widget()
            shown.grab().save(str(self.folder / f"{name}-{theme}.png"))
        self.viewer.theme = THEMES[0]
        settle(0.2)


class Hand:
    """Qt's mouse and keys on the canvas, at voxels (z, y, x) of an image."""

    def __init__(self, viewer, image):
        self.viewer, self.image = viewer, image
        self.canvas = viewer.window._qt_viewer.canvas

    def drag(self, start, end):
        """Press at one place, drag to the other over their middle, release."""
        from qtpy.QtCore import QEvent, Qt

        kinds, button = QEvent.Type, Qt.MouseButton.LeftButton
        none = Qt.MouseButton.NoButton
        self._send(kinds.MouseMove, start, none, none)
        self._send(kinds.MouseButtonPress, start, button, button)
        for place in (np.mean([start, end], axis=0), end):
            self._send(kinds.MouseMove, place, none, button)
        self._send(kinds.MouseButtonRelease, end, button, none)

    def key(self, key, modifier=None):
        """Press a key over the canvas."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        modifier = Qt.KeyboardModifier.NoModifier if modifier is None else modifier
        QTest.keyClick(self.canvas.native, key, modifier)
        settle(0.05)

    def _send(self, kind, place, button, buttons):
        from qtpy.QtCore import QPoint, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        node = self.canvas.layer_to_visual[self.image].node
        # Voxels are drawn from their corners, and counted from their centres.
        at = [place[axis] + 0.5 for axis in self.viewer.dims.displayed][::-1]
        mapped = node.get_transform("visual", "canvas").map([*at, 0, 1])
        point = QPoint(*(round(float(v)) for v in mapped[:2] / mapped[3]))
        event = QMouseEvent(
            kind,
            QPointF(point),
            QPointF(self.canvas.native.mapToGlobal(point)),
            button,
            buttons,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(self.canvas.native, event)
        settle(0.02)


def click(button):
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    settle(0.05)


def type_name(table, row, name):
    """Rename an object by a double click on its name."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QLineEdit

    left = Qt.MouseButton.LeftButton
    place = table.visualItemRect(table.item(row, 1)).center()
    QTest.mouseClick(table.viewport(), left, pos=place)
    QTest.mouseDClick(table.viewport(), left, pos=place)
    settle(0.1)
    editor = table.viewport().findChild(QLineEdit)
    editor.selectAll()
    QTest.keyClicks(editor, name)
    QTest.keyClick(editor, Qt.Key.Key_Return)
    settle(0.1)


def write_series(volume, folder):
    """Write a volume as DICOM, its rows stored the other way round."""
    import SimpleITK as sitk

    array = np.ascontiguousarray(volume.array[:, ::-1]).astype(np.int16)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    columns, rows, slices = (lps[:3, axis].copy() for axis in range(3))
    first = lps[:3, 3] + rows * (volume.shape[1] - 1)
    rows = -rows
    spacing = [float(np.linalg.norm(step)) for step in (columns, rows, slices)]
    directions = [
        step / size for step, size in zip((columns, rows), spacing[:2], strict=True)
    ]
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    folder.mkdir()
    for number, pixels in enumerate(array):
        image = sitk.GetImageFromArray(pixels[None])
        image.SetSpacing(spacing)
        place = first + number * slices
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"1.2.826.0.1.7.{number + 1}",
            "0008|0060": "CT",
            "0020|000d": "1.2.826.0.1",
            "0020|000e": "1.2.826.0.1.7",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{v:.6f}" for v in place),
            "0020|0037": "\\".join(f"{v:.8f}" for v in np.ravel(directions)),
            "0028|0030": f"{spacing[1]:.6f}\\{spacing[0]:.6f}",
            "0028|1052": "0",
            "0028|1053": "1",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{number:04d}.dcm"))
        writer.Execute(image)


def best_slice(labels, organs):
    """Return the slice on which the smallest of the organs is largest."""
    areas = np.array([(labels == organ).sum((1, 2)) for organ in organs])
    return int(np.argmax(areas.min(axis=0)))


def draw_organ(hand, labels, slice_index, organ):
    """Drag a box around an organ, from one outer corner to the other."""
    rows, columns = np.nonzero(labels[slice_index] == organ)
    start = slice_index, rows.min() - MARGIN, columns.min() - MARGIN
    hand.drag(start, (slice_index, rows.max() + MARGIN, columns.max() + MARGIN))


def tour_sample(tour, panel):
    from napari_qmedsam.gui.samples import phantom
    from napari_qmedsam.volumes.volume import Modality

    case = phantom(Modality.CT)
    labels, number = case.labels.array, {n: i for i, n in case.names.items()}
    organ = number["spleen"]
    slice_index = best_slice(labels, [organ])
    panel.workspace.view.go_to(slice_index)
    settle(0.5)
    with tour.step("sample", "sample: one click, one drag, the first mask"):
        click(panel.controls.draw)
        draw_organ(Hand(tour.viewer, panel.workspace.image), labels, slice_index, organ)
        finish(panel)


def tour_scan(tour, panel, scan, truth, organs):
    from qtpy.QtCore import Qt

    viewer, controls = tour.viewer, panel.controls
    with tour.step("scan", f"open {scan.name}"):
        viewer.open(str(scan), plugin="napari-qmedsam")
        settle(0.5)
    numbers = list(organs.values())
    slice_index = best_slice(truth.array, numbers)
    panel.workspace.view.go_to(slice_index)
    hand = Hand(viewer, panel.workspace.image)
    with tour.step("organs", "three boxes, their masks on one slice, and names"):
        click(controls.draw)
        for row, (name, number) in enumerate(organs.items()):
            draw_organ(hand, truth.array, slice_index, number)
            finish(panel)
            type_name(controls.table, row, name)
    controls.table.setFocus()
    with tour.step("propagated", "three organs up and down the whole scan"):
        controls.table.selectAll()
        settle(0.1)
        for key in (Qt.Key.Key_U, Qt.Key.Key_J):
            panel.workspace.view.go_to(slice_index)
            hand.key(key)
            finish(panel, 1800)
            print("        ", controls.status.text(), flush=True)
    with tour.step("undone", "undo and redo of a whole way"):
        hand.key(Qt.Key.Key_Q)
        hand.key(Qt.Key.Key_W)


def tour_tables(tour, panel, labels):
    viewer, menu = tour.viewer, panel.menu
    with tour.step("report", "report", lambda: menu.dialog):
        menu.report()
        finish(panel)
    menu.dialog.close()
    viewer.open(str(labels), plugin="napari-qmedsam")
    settle(0.5)
    reference = viewer.layers[labels.name]
    reference.visible = False
    with tour.step("scores", "scores against the labels", lambda: menu.dialog):
        menu.score(reference)
        finish(panel)
    for row in menu.dialog.cells:
        print("        ", ", ".join(row[:6]), flush=True)
    menu.dialog.close()
    with tour.step("planes", "all planes and 3D"):
        click(panel.controls.planes)
        settle(1)
    click(panel.controls.planes)


def tour_variants(tour, panel, series, reference, bits, slices, model):
    from napari_qmedsam.gui.compare.comparison_layers import MaskView

    viewer = tour.viewer
    with tour.step("series", "open the DICOM folder, rows the other way round"):
        viewer.open(str(series), plugin="napari-qmedsam")
        settle(0.5)
    _, quantize = viewer.window.add_plugin_dock_widget("napari-qmedsam", "Quantize")
    settle(0.5)
    if model:
        quantize.controls.models.choose(model)
    quantize.controls.bits.setValue(bits)
    quantize.controls.slices.setValue(slices)
    with tour.step("quantized", f"{bits} bits from {slices} calibration slices"):
        click(quantize.controls.quantize)
        finish(quantize, 3600)
    print("        ", quantize.controls.status.text(), flush=True)
    _, compare = viewer.window.add_plugin_dock_widget("napari-qmedsam", "Compare")
    settle(0.5)
    controls = compare.controls
    compare.pair.labels.choose(reference)
    controls.boxes.setCurrentIndex(1)
    controls.scope.setCurrentIndex(1)
    panel.workspace.view.go_to(panel.workspace.session.volume.shape[0] // 2)
    with tour.step("compared", "both variants around each label on this slice"):
        click(controls.compare)
        finish(compare, 3600)
    print("        ", controls.status.text(), flush=True)
    for row in range(controls.table.rowCount()):
        cells = [controls.table.item(row, c).text() for c in range(8)]
        print("        ", ", ".join(cells), flush=True)
    for view in (MaskView.GRID, MaskView.SWIPE):
        with tour.step(view.value.lower(), f"compared: {view.value.lower()}"):
            compare.views.show(view)
    compare.views.show(MaskView.HIDDEN)
    return quantize, compare


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("labels", type=Path, help="on the scan's grid")
    parser.add_argument("--organs", default="liver,spleen,aorta")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="1280x800")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--slices", type=int, default=4, help="calibration slices")
    parser.add_argument("--model", help="to quantize; by default what auto takes")
    parser.add_argument("--weights", type=Path, help="lite_medsam.pth")
    parser.add_argument(
        "--names", default="total", help="class list that tells the labels' numbers"
    )
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.weights is not None:
        weights = Path(os.environ["QMEDSAM_HOME"]) / "weights"
        weights.mkdir(exist_ok=True)
        shutil.copy(chosen.weights, weights)

    from napari.settings import get_settings

    from napari_qmedsam import read_labels, read_volume
    from napari_qmedsam.gui.launch import open_viewer
    from napari_qmedsam.volumes.class_lists import class_list

    truth = read_labels(chosen.labels)
    segments = truth.segments or class_list(chosen.names).segments
    known = {segment.name: segment.number for segment in segments}
    organs = {name: known[name] for name in chosen.organs.split(",")}
    get_settings().application.save_window_geometry = False
    begun = time.perf_counter()
    viewer, panel = open_viewer(show=True)
    tour = Tour(viewer, chosen.out)
    tour.window.resize(*map(int, chosen.size.split("x")))
    settle(1)
    print(f"{time.perf_counter() - begun:7.1f} s  the window is open", flush=True)
    tour_sample(tour, panel)
    tour_scan(tour, panel, chosen.scan, truth, organs)
    tour_tables(tour, panel, chosen.labels)
    saved = chosen.out / "saved.nii.gz"
    with tour.step("saved", "save"):
        panel.save_labels(saved)
        finish(panel)
    series = Path(tempfile.mkdtemp()) / "series"
    write_series(read_volume(chosen.scan), series)
    panels = tour_variants(
        tour,
        panel,
        series,
        viewer.layers[chosen.labels.name],
        chosen.bits,
        chosen.slices,
        chosen.model,
    )
    for each in (*panels, panel):
        each.close_down()
    viewer.close()
    settle(0.5)
    viewer, panel = open_viewer(str(chosen.scan), show=True)
    tour.viewer = viewer
    tour.window.resize(*map(int, chosen.size.split("x")))
    with tour.step("reopened", "another window: the scan and what was saved"):
        viewer.open(str(saved), plugin="napari-qmedsam")
        settle(0.5)
        panel.menu.take_over(viewer.layers[saved.name])
        settle(0.3)
    found = [o.name for o in panel.workspace.session.objects.values()]
    print("        ", found, "unsaved offered:", panel.recovery.isVisible(), flush=True)
    panel.workspace.mark_saved()
    panel.close_down()
    viewer.close()
    settle(0.5)
    (chosen.out / "times.txt").write_text("\n".join(tour.lines) + "\n")
    if found != list(organs):
        sys.exit(f"The names {list(organs)} came back as {found}.")


if __name__ == "__main__":
    main()
