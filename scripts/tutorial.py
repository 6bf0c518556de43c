"""Take the pictures of docs/tutorial.md from the real program.

Needs a display; without one::

    scripts/headless.sh .venv/bin/python scripts/tutorial.py

Goes through the tutorial in a window of 1280 by 800: three boxes on the CT
phantom, filled in 3D, a slice corrected, the demo model quantized to 4 and 2
bits, both compared with the reference labels. The seed of the phantom is 0.
The last two panels are taken in both themes.
"""

import argparse
import sys
import time
from pathlib import Path

from screenshots import settle

ORGANS = ("right kidney", "left kidney", "spleen")
SIZE = (1280, 800)
BITS = (4, 2)


class Camera:
    """Saves the window under the names of the tutorial's steps."""

    def __init__(self, viewer, folder):
        self.viewer, self.folder = viewer, folder
        self.frames = []

    def take(self, name, theme="dark"):
        """Save the window in a theme."""
        self.viewer.theme = theme
        settle(1)
        path = self.folder / f"{name}.png"
        picture = self.viewer.window._qt_window.grab()
        picture.save(str(path))
        self.frames.append(path)
        print(path, flush=True)

    def take_both(self, name):
        """Save the window in both themes, the dark one last."""
        self.take(f"{name}-light", "light")
        self.take(name)


def wait(worker, seconds=1200):
    end = time.monotonic() + seconds
    while worker.is_busy:
        if time.monotonic() > end:
            sys.exit("The work did not end.")
        settle(0.05)
    settle()


def wait_for_layers(quantize, layers=60):
    """Wait until the plot shows something of the work."""
    plot = quantize.controls.plot
    before = plot.errors  # of the work before; the new ones are another list
    while quantize.worker.is_busy and (
        plot.errors is before or len(plot.errors) < layers
    ):
        settle(0.05)


def reference_layer():
    from napari.layers import Layer

    from napari_qmedsam.gui.samples import phantom
    from napari_qmedsam.gui.shared.layers import labels_layer_data
    from napari_qmedsam.volumes.volume import Modality

    case = phantom(Modality.CT)
    data, arguments, kind = labels_layer_data(
        case.labels.array, case.volume, "CT phantom reference"
    )
    return Layer.create(data, arguments | {"visible": False}, kind)


def draw(panel):
    """Draw a box around each organ on the slice that shows them best."""
    import numpy as np

    from napari_qmedsam.gui.samples import phantom
    from napari_qmedsam.gui.shared.rectangles import rectangle
    from napari_qmedsam.prompts import Box2D
    from napari_qmedsam.volumes.volume import Modality

    case = phantom(Modality.CT)
    ids = {name: i for i, name in case.names.items()}
    areas = np.array([(case.labels.array == ids[o]).sum((1, 2)) for o in ORGANS])
    slice_index = int(np.argmax(areas.min(axis=0)))
    panel.workspace.view.go_to(slice_index)
    panel.draw_boxes()
    for number, organ in enumerate(ORGANS, 1):
        slab = case.labels.array[slice_index - 3 : slice_index + 4] == ids[organ]
        box = Box2D.enclosing(slab.any(axis=0))
        panel.workspace.box_layer.layer.add_rectangles(rectangle(slice_index, box, 3))
        panel.edits.rename(number, organ)
        panel.edits.set_range(number, slice_index - 3, slice_index + 4)
    # Of several objects the selected ones are segmented, and of none all.
    panel.workspace.select(())
    panel.workspace.changed.emit()


def dock(viewer, panel, name):
    viewer.window.add_dock_widget(panel, name=name, tabify=True)
    settle()


def animate(frames, path):
    """Write the dark pictures one after the other as an animated picture."""
    from PIL import Image

    pictures = [Image.open(f) for f in frames if not f.stem.endswith("-light")]
    size = (SIZE[0] * 5 // 8, SIZE[1] * 5 // 8)
    small = [
        picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        for picture in pictures
    ]
    # One palette for all, so that nothing flickers but what changes.
    sheet = Image.new("RGB", (size[0], size[1] * len(small)))
    for number, picture in enumerate(small):
        sheet.paste(picture, (0, number * size[1]))
    palette = sheet.quantize(160)
    small = [picture.quantize(palette=palette, dither=0) for picture in small]
    small[0].save(path, save_all=True, append_images=small[1:], duration=1800, loop=0)
    print(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--slices", type=int, default=16, help="calibration slices")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)

    from napari.settings import get_settings

    from napari_qmedsam.gui.compare.compare_panel import ComparePanel
    from napari_qmedsam.gui.compare.comparison_layers import MaskView
    from napari_qmedsam.gui.launch import open_viewer
    from napari_qmedsam.gui.quantize.quantize_panel import QuantizePanel

    get_settings().application.save_window_geometry = False
    viewer, segment = open_viewer(show=True)
    camera = Camera(viewer, chosen.out)
    viewer.window._qt_window.resize(*SIZE)
    viewer.add_layer(reference_layer())
    settle(1)
    viewer.reset_view(margin=0)
    segment.controls.automatic.setChecked(False)
    draw(segment)
    camera.take("tutorial-boxes")
    segment.segment_range()
    wait(segment.work)
    camera.take("tutorial-filled")

    quantize = QuantizePanel(viewer)
    dock(viewer, quantize, "Quantize")
    quantize.controls.slices.setValue(chosen.slices)
    for bits in BITS:
        quantize.controls.bits.setValue(bits)
        quantize.quantize()
        if bits == BITS[-1]:
            wait_for_layers(quantize)
            camera.take_both("quantize-panel")
        wait(quantize.worker)

    compare = ComparePanel(viewer)
    dock(viewer, compare, "Compare")
    compare.compare()
    wait(compare.worker)
    camera.take_both("compare-panel")
    compare.controls.table.selectRow(len(BITS))
    compare.views.show_distance()
    wait(compare.worker)
    for layer in viewer.layers[1:-1]:
        layer.visible = False
    camera.take("tutorial-distance")
    viewer.layers[-1].visible = False
    compare.views.show_differences()
    wait(compare.worker)
    camera.take("tutorial-differences")
    viewer.layers[-1].visible = False
    compare.views.show(MaskView.GRID)
    camera.take("tutorial-grid")
    compare.views.show(MaskView.SWIPE)
    camera.take("tutorial-swipe")
    viewer.close()
    animate(camera.frames, chosen.out / "session.gif")


if __name__ == "__main__":
    main()
