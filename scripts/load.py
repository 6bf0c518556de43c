"""Large work in little memory, and long work without growth.

    scripts/load.py [volume] [panel] [machine]

volume
    255 objects in a scan of 512 x 512 x 1200 voxels: boxes drawn, segmented slice by
    slice by a stand-in for a model, undone, made again, measured, autosaved and saved.
    The process must stay below --budget gigabytes at its peak.
panel
    1,000 boxes drawn, moved, removed and undone in the panel of a napari window; after
    the first 200 memory must not grow by 5 % any more. Needs a display:
    scripts/headless.sh scripts/load.py panel
machine
    10,000 actions of a state machine on a session, compared with a replay
    (tests/segmentation/test_session_machine.py).

Each runs in a process of its own. Exit status 1 if one fails.
"""

import argparse
import gc
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import napari

    from napari_qmedsam.gui.segment.segment_panel import SegmentPanel

ROOT = Path(__file__).parents[1]
DEPTH, SIDE, OBJECTS = 1200, 512, 255
GROWTH = 0.05


def peak_gigabytes() -> float:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def load_volume(budget: float) -> None:
    """Annotate a scan of 315 million voxels from end to end."""
    from napari_qmedsam import Session
    from napari_qmedsam.models.configuration import CONFIGS
    from napari_qmedsam.prompts import Box3D
    from napari_qmedsam.runtime.protocol import RuntimeInfo
    from napari_qmedsam.segmentation.autosave import Autosave
    from napari_qmedsam.segmentation.measuring import Tally
    from napari_qmedsam.segmentation.segmenter import SliceSegmenter
    from napari_qmedsam.volumes.volume import Modality, Volume

    class FilledBoxes:
        """Takes a box for its mask: what is loaded is all around a model."""

        config = CONFIGS["demo"]
        info = RuntimeInfo("filled", "none", "fp32", "CPU", "0" * 64, 1)

        def encode(self, model_input: np.ndarray) -> np.ndarray:
            return np.zeros((1, 64, 16, 16), np.float32)

        def decode(self, image_embedding: np.ndarray, boxes: np.ndarray) -> np.ndarray:
            size = self.config.logits_size
            scale = size / self.config.input_size
            logits = np.full((len(boxes), size, size), -4, np.float32)
            for mask, box in zip(logits, boxes, strict=True):
                x_min, y_min, x_max, y_max = (int(v * scale) for v in box)
                mask[y_min : y_max + 1, x_min : x_max + 1] = 4
            return logits

    array = np.empty((DEPTH, SIDE, SIDE), np.int16)
    ramp = np.linspace(-500, 500, SIDE).astype(np.int16)
    for z, plane in enumerate(array):
        plane[:] = ramp + z % 100
    session = Session(
        Volume(array, modality=Modality.CT), SliceSegmenter(FilledBoxes())
    )
    print(f"scan and labels: {peak_gigabytes():.2f} GB", flush=True)
    for i in range(OBJECTS):
        x, y = 30 * (i % 16) + 4, 30 * (i // 16 % 16) + 4
        z = (i * 4) % (DEPTH - 120)
        box = Box3D(x, y, z, x + 24, y + 24, z + 120)
        session.add_object(box, object_id=i + 1)
    started = time.monotonic()
    session.segment()
    print(f"segmented: {peak_gigabytes():.2f} GB", flush=True)
    painted = np.unique(session.labels)
    assert len(painted) == OBJECTS + 1, f"{len(painted) - 1} objects have voxels"
    tally = Tally(session.volume)
    tally.count(session.labels)
    sizes = [tally.measure(i).voxels for i in session.objects]
    session.undo()
    assert not session.labels.any()
    session.redo()
    tally = Tally(session.volume)
    tally.count(session.labels)
    assert [tally.measure(i).voxels for i in session.objects] == sizes
    print(f"undone and made again: {peak_gigabytes():.2f} GB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        saver = Autosave(session.volume, Path(folder))
        saver.write(session.objects, session.labels, is_closed=True)
        print(f"autosaved: {peak_gigabytes():.2f} GB", flush=True)
        session.save_labels(Path(folder) / "labels.nii.gz")
    print(
        f"saved after {time.monotonic() - started:.0f} s; peak {peak_gigabytes():.2f} "
        f"GB of {budget:g}",
        flush=True,
    )
    assert peak_gigabytes() < budget, "the budget was exceeded"


def load_panel(budget: float) -> None:
    """Draw a thousand boxes in a window, a hundred at a time."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
    from napari_qmedsam.gui.shared.layers import image_layer_data
    from napari_qmedsam.volumes.volume import Volume

    array = np.random.default_rng(0).integers(0, 255, (8, 128, 128)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as home:
        os.environ["QMEDSAM_HOME"] = home
        viewer = napari.Viewer(show=True)
        data, settings, _ = image_layer_data(Volume(array), "scan")
        viewer.add_image(data, **settings)
        panel = SegmentPanel(viewer)
        viewer.window.add_dock_widget(panel)
        QApplication.processEvents()
        draw_boxes(panel, viewer)


def draw_boxes(panel: "SegmentPanel", viewer: "napari.Viewer") -> None:
    """Draw with the rectangle tool's own layer, and take everything back."""
    workspace = panel.workspace
    assert workspace is not None
    panel.controls.automatic.setChecked(False)
    layer = workspace.draw_boxes()
    sizes = []
    for number in range(1000):
        x, y = 3 * (number % 35), 3 * (number // 35 % 30)
        corners = [[0, y, x], [0, y, x + 20], [0, y + 20, x + 20], [0, y + 20, x]]
        layer.add_rectangles(np.array(corners, float))
        let_events_pass()
        session = workspace.session
        if number % 10 == 9:
            with workspace.edit() as edited:
                for object_id in list(edited.objects):
                    edited.remove_object(object_id)
            let_events_pass()
        if number % 100 == 99:
            gc.collect()
            let_events_pass()
            sizes.append(resident_megabytes())
            print(
                f"{number + 1} boxes: {sizes[-1]:.0f} MB, {len(session.history)} steps",
                flush=True,
            )
    growth = sizes[-1] / sizes[1] - 1
    print(f"growth after the first 200: {100 * growth:.1f} %", flush=True)
    viewer.close()
    assert growth < GROWTH, "memory grows with every box"


def let_events_pass() -> None:
    """Do what a running event loop does, which deletes what was asked to go, too."""
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def load_machine(budget: float) -> None:
    """Run the state machine of the tests with 250 sequences of 40 actions."""
    test = ROOT / "tests" / "segmentation" / "test_session_machine.py"
    environment = {**os.environ, "QMEDSAM_MACHINE_RUNS": "250"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(test),
    ]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


LOADS = {"volume": load_volume, "panel": load_panel, "machine": load_machine}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loads", nargs="*", metavar="LOAD", help=", ".join(LOADS))
    parser.add_argument("--budget", type=float, default=4.0, help="gigabytes")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.loads) - set(LOADS):
        parser.error(f"no load is called {', '.join(unknown)}")
    if options.here:
        LOADS[options.loads[0]](options.budget)
        return 0
    failed = 0
    for name in options.loads or LOADS:
        command = [sys.executable, __file__, name, "--here"]
        command += ["--budget", str(options.budget)]
        print(f"{name}:", flush=True)
        failed += subprocess.run(command).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
