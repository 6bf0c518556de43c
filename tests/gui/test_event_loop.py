"""The interface goes on while a volume is encoded, by a timer in its loop."""

import time

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import QTimer

from napari_qmedsam.gui.boxes import rectangle
from napari_qmedsam.gui.layers import image_layer
from napari_qmedsam.gui.segment_panel import SegmentPanel
from napari_qmedsam.models import build_model
from napari_qmedsam.models.checkpoints import save_model
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.volumes.volume import Modality, Volume

pytestmark = pytest.mark.gui

LONGEST_GAP = 0.1
"""Seconds, from the promise that the interface never stalls for longer."""

ATTEMPTS = 5
"""A machine with other work may hold up any thread; it must not do so always."""


class GapMeter:
    """Longest time between two ticks of a timer in the interface's thread."""

    def __init__(self, parent):
        self.longest, self._last = 0.0, time.perf_counter()
        self._timer = QTimer(parent)
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._tick)

    def __enter__(self):
        self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_):
        self._timer.stop()

    def _tick(self):
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._last)
        self._last = now


@pytest.mark.parametrize(
    ("model", "runtime"), [("lite_medsam", "torch"), ("demo", "openvino")]
)
def test_interface_never_stalls_while_a_volume_is_encoded(
    make_napari_viewer, qtbot, finish, tmp_path, monkeypatch, model, runtime
):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path))
    weights = save_model(build_model(model), tmp_path / "random.safetensors")
    backend = load_backend(str(weights), runtime)
    rng = np.random.default_rng(0)
    array = rng.integers(-200, 300, (4 * ATTEMPTS, 512, 512)).astype(np.int16)
    viewer = make_napari_viewer()
    viewer.add_layer(
        Layer.create(*image_layer(Volume(array, modality=Modality.CT), "noise"))
    )
    panel = SegmentPanel(viewer, load=lambda *_: backend)
    viewer.window.add_dock_widget(panel, name="Segment")
    panel.workspace.go_to(0)
    box = Box2D(100, 100, 400, 400)
    panel.workspace.draw_boxes().add_rectangles(rectangle(0, box, 3))
    # What napari puts off when layers are added is no part of the encoding.
    qtbot.wait(1000)
    gaps = []
    for attempt in range(ATTEMPTS):
        first = 4 * attempt  # slices that have not been encoded
        panel.workspace.go_to(first + 2)
        panel._range_changed(1, first, first + 4)
        meter = GapMeter(panel)
        # The press of the button counts too.
        with meter:
            panel.segment_range()
            finish(panel, timeout=300_000)
        gaps.append(meter.longest)
        if meter.longest < LONGEST_GAP:
            break
    panel.close_down()
    print(f"longest gaps with {runtime}: {[f'{1000 * gap:.0f} ms' for gap in gaps]}")
    assert min(gaps) < LONGEST_GAP
