"""Start `napari -w napari-qmedsam` and get the first mask, as somebody does who is new.

    scripts/headless.sh python scripts/first_mask.py

napari's own command line opens its window with the panel in it. Where it would wait for
the user, this opens the sample CT, puts a box around a kidney, waits for its mask, and
looks whether it fills the box as a kidney does. Only what is installed is used, nothing
of a clone. Exit status 1 without such a mask.
"""

import sys
import time

import napari
import napari.__main__
from qtpy import API_NAME
from qtpy.QtWidgets import QApplication

from napari_qmedsam import Box2D
from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.rectangles import rectangle

SLICE, BOX = 27, Box2D(121, 104, 139, 129)
SHARE = (0.6, 0.9)
"""Of its box that an ellipse fills, with room for what a model makes of it."""

SECONDS = 120


def first_mask(**_: object) -> None:
    """Stand in for the loop of events."""
    viewer = napari.current_viewer()
    panels = [w for w in QApplication.allWidgets() if isinstance(w, SegmentPanel)]
    assert len(panels) == 1, f"{len(panels)} panels are open"
    panel = panels[0]
    viewer.open_sample("napari-qmedsam", "ct_phantom")
    QApplication.processEvents()
    panel.workspace.view.go_to(SLICE)
    panel.workspace.draw_boxes().add_rectangles(rectangle(SLICE, BOX, 3))
    end = time.monotonic() + SECONDS
    share = 0.0
    while share == 0 or panel.work.is_busy:
        assert time.monotonic() < end, f"no mask in {SECONDS} s"
        QApplication.processEvents()
        time.sleep(0.01)
        mask = panel.workspace.session.labels[SLICE] > 0
        share = mask.sum() / ((BOX.x_max - BOX.x_min) * (BOX.y_max - BOX.y_min))
    assert SHARE[0] < share < SHARE[1], f"the mask fills {share:.0%} of its box"
    print(f"napari {napari.__version__}, {API_NAME}: a mask in {share:.0%} of its box")
    viewer.close()


if __name__ == "__main__":
    napari.run = first_mask
    sys.argv = ["napari", "-w", "napari-qmedsam"]
    sys.exit(napari.__main__.main())
