"""The repair of vispy, in a process of its own: without it, that crashes."""

import subprocess
import sys

import pytest

pytest.importorskip("napari")

SCRIPT = """
import time
import numpy as np
import napari
from qtpy.QtWidgets import QApplication
from napari_qmedsam.gui.shared.rectangles import box_style, features_of, BoxRow
from napari_qmedsam.volumes.volume import Modality, Source, Volume

def draw():
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)

viewer = napari.Viewer()
viewer.window._qt_window.resize(1280, 800)
draw()
volume = Volume(np.zeros((1, 64, 64), np.uint8), (1.0, 1.0, 1.0), np.eye(4),
                Modality.OTHER, Source())
viewer.add_image(np.random.default_rng(0).random((64, 64)))
viewer.add_shapes(
    [np.array([(20, 20), (20, 40), (40, 40), (40, 20)])],
    features=features_of([BoxRow(1, "object 1")]),
    **(box_style(volume) | {"text": {"string": "{title}", "color": "white"}}),
)
draw()
viewer.layers.clear()
draw()
viewer.add_image(np.random.default_rng(1).random((64, 64, 3)), rgb=True)
draw()
viewer.add_shapes(ndim=2)
draw()
print("drawn", len(viewer.layers))
viewer.close()
"""


def test_an_image_is_drawn_after_named_boxes_were_cleared_away():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "drawn 2" in done.stdout
