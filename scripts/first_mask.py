"""Start `napari -w napari-qmedsam` and get the first mask, as somebody does who is new.

    scripts/headless.sh python scripts/first_mask.py

napari's own command line opens its window with the panel in it. Where it would wait for
the user, this opens the sample CT, puts a tight box around its left kidney, waits for
the mask, and compares it with the kidney. Only what is installed is used, nothing of a
clone. Exit status 1 without such a mask.
"""

import sys
import time

import napari
import napari.__main__
from qtpy import API_NAME
from qtpy.QtWidgets import QApplication

from napari_qmedsam import Box2D
from napari_qmedsam.gui.samples import phantom
from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.overlap import dice
from napari_qmedsam.volumes import Modality

SLICE, ORGAN = 27, "left kidney"
LEAST_DSC = 0.9

SECONDS = 120


def first_mask(**_: object) -> None:
    """Stand in for the loop of events."""
    viewer = napari.current_viewer()
    panels = [w for w in QApplication.allWidgets() if isinstance(w, SegmentPanel)]
    assert len(panels) == 1, f"{len(panels)} panels are open"
    panel = panels[0]
    viewer.open_sample("napari-qmedsam", "ct_phantom")
    QApplication.processEvents()
    case = phantom(Modality.CT)
    number = next(n for n, name in case.names.items() if name == ORGAN)
    kidney = case.labels.array[SLICE] == number
    box = Box2D.around(kidney)
    assert box is not None, f"no {ORGAN} on slice {SLICE}"
    panel.workspace.view.go_to(SLICE)
    panel.workspace.draw_boxes().add_rectangles(rectangle(SLICE, box, 3))
    end = time.monotonic() + SECONDS
    mask = kidney & False
    while not mask.any() or panel.work.is_busy:
        assert time.monotonic() < end, f"no mask in {SECONDS} s"
        QApplication.processEvents()
        time.sleep(0.01)
        mask = panel.workspace.session.labels[SLICE] > 0
    found = dice(mask, kidney)
    assert found > LEAST_DSC, f"the mask's DSC is {found:.2f}"
    print(
        f"napari {napari.__version__}, {API_NAME}: a {ORGAN} with a DSC of {found:.2f}"
    )
    viewer.close()


if __name__ == "__main__":
    napari.run = first_mask
    sys.argv = ["napari", "-w", "napari-qmedsam"]
    sys.exit(napari.__main__.main())
