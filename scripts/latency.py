"""How long a box takes to show its mask, in a real window, on slices encoded ahead.

Needs a display; without one::

    scripts/headless.sh .venv/bin/python scripts/latency.py --models demo,lite_medsam

Opens a generated CT, waits until its slices have been encoded, and draws boxes one by
one. Timed is from the box's arrival in its layer until the canvas has been drawn with
its mask; a second figure is until all is at rest, the panel and its counts as well.
Without a graphics card the drawing is done by the processor and is most of it.
"""

import argparse
import time

import numpy as np
from screenshots import settle

BUDGET_MS = {"demo": 60, "lite_medsam": 120}
"""What a box may take on two cores, for 95 of 100."""


def measure(viewer, panel, model, boxes, seed):
    from qtpy.QtCore import QEventLoop
    from qtpy.QtWidgets import QApplication

    from napari_qmedsam.gui.segment.background_encoding import START_MS
    from napari_qmedsam.gui.shared.rectangles import rectangle
    from napari_qmedsam.prompts import Box2D

    panel.controls.models.choose(model)
    panel.load_model()
    _until(lambda: not panel.work.is_busy)
    settle(2 * START_MS / 1000)
    _until(lambda: not panel.encoding.is_busy)
    panel.controls.automatic.setChecked(True)
    rng, seen, rest = np.random.default_rng(seed), [], []
    depth, height, width = panel.workspace.session.volume.shape
    layer = panel.workspace.draw_boxes()
    scene = viewer.window._qt_viewer.canvas._scene_canvas
    drawn, painted = [], []
    scene.events.draw.connect(
        lambda _: drawn.append(time.perf_counter()), position="last"
    )
    panel.workspace.redrawn.connect(lambda _: painted.append(time.perf_counter()))

    def has_been_seen():
        return painted and drawn and drawn[-1] > painted[0]

    for _ in range(boxes):
        slice_index = int(rng.integers(depth // 4, 3 * depth // 4))
        panel.workspace.view.go_to(slice_index)
        # As long as it takes to draw a box, at the least.
        settle(1)
        x, y = (
            rng.integers(width // 4, width // 2),
            rng.integers(height // 4, height // 2),
        )
        box = Box2D(x, y, x + rng.integers(20, 60), y + rng.integers(20, 60))
        drawn.clear()
        start = time.perf_counter()
        layer.add_rectangles(rectangle(slice_index, box, 3))
        painted.clear()
        while panel.work.is_busy or panel.runner.is_waiting or not has_been_seen():
            # As the window does: asleep until something comes.
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        rest.append(1000 * (time.perf_counter() - start))
        seen.append(1000 * (next(t for t in drawn if t > painted[0]) - start))
        panel.undo()
        panel.undo()
    return np.array(seen), np.array(rest)


def _until(holds, seconds=600):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit("It did not come to that.")
        settle(0.05)


def main() -> None:
    """Measure each model and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="demo")
    parser.add_argument("--boxes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()

    import napari
    from napari.layers import Layer

    from napari_qmedsam.gui.samples import phantom
    from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
    from napari_qmedsam.gui.shared.layers import image_layer_data
    from napari_qmedsam.volumes.volume import Modality

    print("| model | until | boxes | median ms | 95 % within | longest | wanted |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for model in asked.models.split(","):
        viewer = napari.Viewer()
        volume = phantom(Modality.CT).volume
        viewer.add_layer(Layer.create(*image_layer_data(volume, "phantom")))
        panel = SegmentPanel(viewer)
        viewer.window.add_dock_widget(panel, name="Segment")
        settle(1)
        seen, rest = measure(viewer, panel, model, asked.boxes, asked.seed)
        for what, took in (("mask seen", seen), ("all at rest", rest)):
            median, most = np.percentile(took, [50, 95])
            wanted = BUDGET_MS.get(model, "") if took is seen else ""
            print(
                f"| {model} | {what} | {len(took)} | {median:.0f} | {most:.0f} "
                f"| {took.max():.0f} | {wanted} |",
                flush=True,
            )
        panel.close_down()
        viewer.close()


if __name__ == "__main__":
    main()
