"""A model that thresholds inside the box, and viewers with the panel."""

import time
from contextlib import contextmanager

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMenu

from napari_qmedsam.gui.segment import background_encoding
from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.models.configuration import (
    ModelConfig,
    PreprocessingKind,
    TinyViTConfig,
)
from napari_qmedsam.runtime.protocol import RuntimeInfo
from napari_qmedsam.volumes.volume import Modality, Source, Volume


class ThresholdBackend:
    """Marks what is brighter than half the window inside the box.

    The model input has the size of the test slices, so masks come back voxel
    by voxel.
    """

    config = ModelConfig(
        "threshold", 64, PreprocessingKind.PAD, TinyViTConfig(embedding_size=16)
    )
    info = RuntimeInfo("threshold", "fake", "fp32", "CPU", "0" * 64, 0)

    def __init__(self, seconds=0.0):
        self.seconds, self.encoded = seconds, 0

    def encode(self, model_input):
        self.encoded += 1
        time.sleep(self.seconds)
        return model_input[None, :1].copy()

    def decode(self, image_embedding, boxes):
        image = image_embedding[0, 0]
        rows, columns = np.indices(image.shape)
        logits = np.full((len(boxes), *image.shape), -9.0, np.float32)
        for plane, (x_min, y_min, x_max, y_max) in zip(logits, boxes, strict=True):
            inside = (columns >= x_min) & (columns <= x_max)
            inside &= (rows >= y_min) & (rows <= y_max)
            plane[inside & (image > 0.5)] = 9.0
        return logits


@pytest.fixture(autouse=True)
def no_memories(tmp_path, monkeypatch):
    """Neither choices nor unsaved work of other tests are found."""
    monkeypatch.setenv("QMEDSAM_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def nothing_ahead(monkeypatch):
    """Slices are encoded when they are asked for, so that tests can count them."""
    monkeypatch.setattr(background_encoding, "START_MS", 10_000_000)


@pytest.fixture
def volume(tmp_path):
    """Bright bars along x on black, 6 slices of 64 by 48, stored oddly.

    Spacing 3, 0.5, 0.8 mm; x and z run against the display.
    """
    array = np.full((6, 64, 48), -1000, np.int16)
    array[:, 10:20, 5:25] = 100
    array[:, 30:40, 20:40] = 200
    # No two slices alike: equal ones would be encoded once.
    array += 10 * np.arange(6, dtype=np.int16)[:, None, None]
    affine = np.diag([0.8, -0.5, -3.0, 1.0])
    affine[:3, 3] = (-11.0, 7.0, 40.0)
    return Volume(array, (3.0, 0.5, 0.8), affine, Modality.CT, Source())


@pytest.fixture
def backend():
    return ThresholdBackend()


@pytest.fixture
def window(make_napari_viewer):
    """Asked for by tests that are about napari's window: `viewer` has one then."""
    return make_napari_viewer()


@pytest.fixture
def viewer(request):
    """Layers, dims and events as panels know them; a window takes a second longer."""
    if "window" in request.fixturenames:
        return request.getfixturevalue("window")
    return ViewerModel()


@pytest.fixture
def dock(qtbot):
    """Put a panel where it belongs: into the viewer's window, if there is one."""

    def put(panel):
        if hasattr(panel.viewer, "window"):
            panel.viewer.window.add_dock_widget(panel)
        else:
            qtbot.addWidget(panel)
        return panel

    return put


@pytest.fixture
def panel(viewer, dock, volume, backend):
    """The panel over the test volume."""
    from napari.layers import Layer

    viewer.add_layer(Layer.create(*image_layer_data(volume, "bars")))
    panel = dock(SegmentPanel(viewer, load=lambda *_: backend))
    panel.controls.automatic.setChecked(False)
    yield panel
    panel.close_down()


@pytest.fixture
def finish(qtbot):
    """Wait until a panel's work is done."""

    def wait(panel, timeout=20_000):
        qtbot.waitUntil(lambda: not panel.work.is_busy, timeout=timeout)

    return wait


@pytest.fixture
def segment_box(panel, finish):
    """Add a box on a slice, and segment the slice."""

    def make(slice_index, box):
        panel.workspace.view.go_to(slice_index)
        panel.workspace.draw_boxes().add_rectangles(rectangle(slice_index, box, 3))
        panel.segment_slice()
        finish(panel)

    return make


@pytest.fixture
def choose_in_menu(panel, finish):
    """Choose an entry of the objects' menu by its titles, as the mouse would."""

    def make(*titles):
        menu = panel.controls.more.menu()
        menu.aboutToShow.emit()
        for title in titles[:-1]:
            menu = next(m for m in menu.findChildren(QMenu) if m.title() == title)
        action = next(a for a in menu.actions() if a.text() == titles[-1])
        assert menu.isEnabled()
        action.trigger()
        finish(panel)

    return make


@pytest.fixture
def drag():
    """Draw a rectangle with the mouse, through the layer's own callbacks."""

    def make(layer, slice_index, box):
        corners = rectangle(slice_index, box, 3)
        start, end = (layer.data_to_world(c) for c in (corners[0], corners[2]))
        for kind, position, callbacks in (
            ("mouse_press", start, mouse_press_callbacks),
            ("mouse_move", end, mouse_move_callbacks),
            ("mouse_release", end, mouse_release_callbacks),
        ):
            event = read_only_mouse_event(
                type=kind, is_dragging=kind == "mouse_move", position=position
            )
            callbacks(layer, event)
        return layer

    return make


@pytest.fixture
def hold():
    """Let a backend's work hang, after some slices, until it is told to stop."""

    def make(backend, worker, after):
        encode, backend.is_held = backend.encode, False

        def held(model_input):
            if backend.encoded >= after:
                backend.is_held = True
                worker._stop.wait(60)
            return encode(model_input)

        backend.encode = held

    return make


@pytest.fixture
def told_to_stop():
    """Check that work under way is told to stop in a block, and then ends."""

    @contextmanager
    def block(worker):
        thread, stop = worker._thread, worker._stop
        assert not stop.is_set()
        yield
        assert stop.is_set()
        assert not worker.is_busy
        thread.join(60)
        assert not thread.is_alive()

    return block


class Mouse:
    """Qt's mouse and keys on the canvas of a window, at places of an image.

    Parameters
    ----------
    viewer : napari.Viewer
    image : Image
    """

    def __init__(self, viewer, image):
        self.viewer, self.image = viewer, image
        self.canvas = viewer.window._qt_viewer.canvas

    def point(self, place):
        """Return the pixel of the canvas at a place (z, y, x) of the image."""
        node = self.canvas.layer_to_visual[self.image].node
        dims = self.viewer.dims
        # Voxels are drawn from their corners, and counted from their centres.
        at = [place[axis] + 0.5 for axis in dims.displayed][::-1]
        mapped = node.get_transform("visual", "canvas").map([*at, 0, 1])
        return QPoint(*(round(float(v)) for v in mapped[:2] / mapped[3]))

    def move(self, place):
        self._send(QEvent.Type.MouseMove, place, Qt.MouseButton.NoButton)

    def press(self, place, modifier=Qt.KeyboardModifier.NoModifier):
        self._send(
            QEvent.Type.MouseButtonPress,
            place,
            Qt.MouseButton.LeftButton,
            modifier=modifier,
        )

    def drag_to(self, place, modifier=Qt.KeyboardModifier.NoModifier):
        buttons = Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton
        self._send(QEvent.Type.MouseMove, place, *buttons, modifier=modifier)

    def release(self, place, modifier=Qt.KeyboardModifier.NoModifier):
        buttons = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        kind = QEvent.Type.MouseButtonRelease
        self._send(kind, place, *buttons, modifier=modifier)

    def click(self, place):
        self.move(place)
        self.press(place)
        self.release(place)

    def drag(self, start, end, modifier=Qt.KeyboardModifier.NoModifier):
        """Move to a place, press, drag to another over their middle, release."""
        self.move(start)
        self.press(start, modifier)
        self.drag_to(np.mean([start, end], axis=0), modifier)
        self.drag_to(end, modifier)
        self.release(end, modifier)

    def key(self, key):
        QTest.keyClick(self.canvas.native, key)
        QApplication.processEvents()

    def _send(
        self,
        kind,
        place,
        button,
        buttons=None,
        modifier=Qt.KeyboardModifier.NoModifier,
    ):
        native, point = self.canvas.native, self.point(place)
        event = QMouseEvent(
            kind,
            QPointF(point),
            QPointF(native.mapToGlobal(point)),
            button,
            button if buttons is None else buttons,
            modifier,
        )
        QApplication.sendEvent(native, event)
        QApplication.processEvents()


@pytest.fixture
def mouse(viewer):
    """Real mouse and keys on the canvas; asks for `window` and `panel` before."""

    def make(image):
        viewer.window._qt_window.show()
        QApplication.processEvents()
        viewer.reset_view()
        QApplication.processEvents()
        return Mouse(viewer, image)

    return make


class GapMeter:
    """Longest time between two ticks of a timer in the interface's thread.

    `busiest` is the longest that the thread itself worked between two: what it waited
    for a processor, on a machine with other work, is no part of that.
    """

    def __init__(self, parent):
        self.longest, self._last = 0.0, time.perf_counter()
        self.busiest, self._worked = 0.0, time.thread_time()
        self._timer = QTimer(parent)
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._tick)

    def __enter__(self):
        self._last, self._worked = time.perf_counter(), time.thread_time()
        self._timer.start()
        return self

    def __exit__(self, *_):
        self._timer.stop()

    def _tick(self):
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._last)
        worked = time.thread_time()
        self.busiest = max(self.busiest, worked - self._worked)
        self._last, self._worked = now, worked


@pytest.fixture
def gap_meter():
    return GapMeter
