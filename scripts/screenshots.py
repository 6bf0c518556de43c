"""Take the pictures of the documentation from the real program.

Needs a display; without one::

    scripts/headless.sh .venv/bin/python scripts/screenshots.py

Opens the CT phantom, draws boxes around four organs, segments them with the
default model and saves the window, once in each theme; then a box in the coronal
view with its points, all planes beside each other, and the list of keys.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
# Nothing that an earlier window left unsaved is to be offered in the pictures.
os.environ.setdefault("QMEDSAM_HOME", tempfile.mkdtemp())

ORGANS = ("right kidney", "left kidney", "spleen", "aorta")
SIZE = (1280, 800)
THEMES = {"dark": "panel.png", "light": "panel-light.png"}


def settle(seconds=0.3):
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def finish(panel, seconds=300):
    end = time.monotonic() + seconds
    while panel.work.is_busy:
        if time.monotonic() > end:
            sys.exit("The work did not end.")
        settle(0.05)
    settle()


def draw_organs(panel):
    """Draw a box around each organ on the slice that shows them best."""
    import numpy as np

    from napari_qmedsam.gui.samples import phantom
    from napari_qmedsam.gui.shared.rectangles import rectangle
    from napari_qmedsam.prompts import Box2D
    from napari_qmedsam.volumes.volume import Modality

    case = phantom(Modality.CT)
    ids = {name: i for i, name in case.names.items()}
    organs = [name for name in ORGANS if name in ids]
    areas = np.array([(case.labels.array == ids[o]).sum((1, 2)) for o in organs])
    shown = areas.min(axis=0) > 0
    slice_index = int(np.argmax(np.where(shown, np.sqrt(areas).sum(axis=0), 0)))
    panel.workspace.view.go_to(slice_index)
    panel.draw_boxes()
    for number, organ in enumerate(organs, 1):
        mask = case.labels.array[slice_index] == ids[organ]
        box = Box2D.around(mask, 2).clip(*mask.shape)
        panel.workspace.box_layer.layer.add_rectangles(rectangle(slice_index, box, 3))
        panel.edits.rename(number, organ)
        panel.edits.set_range(number, slice_index - 3, slice_index + 4)
    # Of several objects the selected ones are segmented, and of none all.
    panel.workspace.select(())
    panel.workspace.changed.emit()


def draw_coronal(panel):
    """Draw a box around a kidney in the coronal view; its slice is segmented."""
    import numpy as np

    from napari_qmedsam.gui.samples import phantom
    from napari_qmedsam.gui.segment.point_layer import PointLayer
    from napari_qmedsam.gui.shared.rectangles import rectangle
    from napari_qmedsam.prompts import Box2D
    from napari_qmedsam.volumes.volume import Modality

    case = phantom(Modality.CT)
    kidney = case.labels.array == {n: i for i, n in case.names.items()}["left kidney"]
    row = int(np.argmax(kidney.sum((0, 2))))
    panel.workspace.view.look_along(1)
    settle()
    panel.workspace.view.go_to(row, 1)
    mask = kidney[:, row]
    box = Box2D.enclosing(mask)
    panel.draw_boxes()
    panel.workspace.box_layer.layer.add_rectangles(rectangle(row, box, 3, axis=1))
    finish(panel)
    new = max(panel.workspace.session.objects)
    panel.edits.rename(new, "kidney, coronal")
    panel.workspace.refine(new, PointLayer.tools[0])
    inside = np.argwhere(mask)
    panel.workspace.refining["points"].layer.add(
        [[inside[0][0] + 4, row, int(inside[:, 1].mean())]]
    )
    panel.workspace.refining["points"].layer.selected_data = set()
    panel.workspace.box_layer.layer.selected_data = set()
    finish(panel)


def save_keys(panel, path):
    """Save the list of keys."""
    panel.show_help()
    settle()
    [dialog] = [w for w in panel.children() if type(w).__name__ == "HelpDialog"]
    dialog.grab().save(str(path))
    dialog.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--model", default="auto", help="name or weights file")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)

    from napari.settings import get_settings

    from napari_qmedsam.gui.launch import open_viewer

    get_settings().application.save_window_geometry = False
    viewer, panel = open_viewer(show=True)
    window = viewer.window._qt_window
    window.resize(*SIZE)
    panel.controls.models.choose(chosen.model)
    panel.controls.automatic.setChecked(True)
    settle(1)
    viewer.reset_view(margin=0)
    draw_organs(panel)
    panel.segment_range()
    finish(panel)
    for theme, name in THEMES.items():
        viewer.theme = theme
        settle(1)
        window.grab().save(str(chosen.out / name))
        print(chosen.out / name)
    viewer.theme = "dark"
    draw_coronal(panel)
    settle(1)
    window.grab().save(str(chosen.out / "panel-coronal.png"))
    panel.workspace.look_along(0)
    panel.show_planes()
    settle(2)
    window.grab().save(str(chosen.out / "panel-planes.png"))
    panel.show_planes()
    save_keys(panel, chosen.out / "panel-keys.png")
    panel.workspace.mark_saved()  # nothing is to be offered at the next start
    viewer.close()


if __name__ == "__main__":
    main()
