"""Close napari's window in the middle of work and time what follows.

    scripts/headless.sh .venv/bin/python benchmarks/closing.py
        [--out docs/benchmarks.md]

For each kind of work a fresh process opens a window with the three panels, starts
the work, closes the window a while later, and says how long it took until the
window had gone and until the work's thread was over. The process that started it
says when the other one ended, and with which exit code.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pages import put_between

KINDS = ("download", "encoding", "quantization", "NNCF int8", "evaluation")
UNDER_WAY_SECONDS = 2.0
MEGABYTE = 1_000_000


def download(panels: dict, folder: Path) -> None:
    """Ask a server that gives one megabyte and then nothing more for a minute."""
    import dataclasses
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from napari_qmedsam.checkpoints.catalogue import CATALOGUE

    class Slow(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(100 * MEGABYTE))
            self.end_headers()
            self.wfile.write(bytes(MEGABYTE))
            time.sleep(60)

    server = HTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/weights.pth"
    entry = dataclasses.replace(CATALOGUE["lite_medsam"], urls=(url,))
    CATALOGUE["lite_medsam"] = entry
    panel = panels["Segment"]
    panel.controls.models.choose("lite_medsam")
    panel.load_model()


def encoding(panels: dict, folder: Path) -> None:
    """Encode with LiteMedSAM in torch, half a second per slice or more."""
    from napari_qmedsam.checkpoints.saving import save_model
    from napari_qmedsam.gui.shared.rectangles import rectangle
    from napari_qmedsam.models import build_model
    from napari_qmedsam.prompts import Box2D
    from napari_qmedsam.runtime import load_backend

    weights = save_model(build_model("lite_medsam"), folder / "random.safetensors")
    backend = load_backend(str(weights), "torch")
    panel = panels["Segment"]
    panel.runner.models.load = lambda *_: backend
    panel.controls.automatic.setChecked(False)
    box = Box2D(20, 20, 60, 60)
    panel.workspace.draw_boxes().add_rectangles(rectangle(0, box, 3))
    panel.edits.set_range(1, 0, panel.workspace.session.volume.shape[0])
    panel.segment_range()


def quantization(panels: dict, folder: Path) -> None:
    panels["Quantize"].quantize()


def nncf(panels: dict, folder: Path) -> None:
    from napari_qmedsam.quantization.methods import NNCF

    method = panels["Quantize"].controls.method
    method.setCurrentIndex(method.findData(NNCF))
    panels["Quantize"].quantize()


def evaluation(panels: dict, folder: Path) -> None:
    from napari_qmedsam.evaluation.variants import Variant
    from napari_qmedsam.gui.compare.compare_controls import AROUND
    from napari_qmedsam.runtime import BackendName, Runtime

    panel = panels["Compare"]
    panel.controls.boxes.setCurrentText(AROUND)
    panel.state.variants.add(Variant("demo", "demo", Runtime(BackendName.TORCH)))
    panel.state.variants_changed.emit()
    panel.compare()


def close_in_the_middle(kind: str, folder: Path) -> None:
    import napari
    from napari.layers import Layer
    from qtpy.QtCore import QTimer

    from napari_qmedsam.gui.samples import labelled_ct_phantom
    from napari_qmedsam.gui.shared.worker import Worker

    starts = (download, encoding, quantization, nncf, evaluation)
    viewer = napari.Viewer()
    for layer in labelled_ct_phantom():
        viewer.add_layer(Layer.create(*layer))
    panels = {
        name: viewer.window.add_plugin_dock_widget("napari-qmedsam", name)[1]
        for name in ("Segment", "Quantize", "Compare")
    }

    def start() -> None:
        starts[KINDS.index(kind)](panels, folder)
        QTimer.singleShot(int(1000 * UNDER_WAY_SECONDS), end)

    def end() -> None:
        threads = [
            worker._thread
            for panel in panels.values()
            for worker in panel.findChildren(Worker)
            if worker.is_busy
        ]
        assert threads, f"{kind} was over before the window closed"
        started = time.perf_counter()
        viewer.close()
        window = time.perf_counter() - started
        for thread in threads:
            thread.join()
        work = time.perf_counter() - started
        print(f"times {time.time() - work} {window} {work}", flush=True)

    QTimer.singleShot(2000, start)
    napari.run()


def measured(kind: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [sys.executable, __file__, "--kind", kind, "--folder", folder],
            capture_output=True,
            text=True,
        )
    ended = time.time()
    (line,) = [x for x in result.stdout.splitlines() if x.startswith("times")]
    closed, window, work = (float(x) for x in line.split()[1:])
    return (
        f"| {kind} | {window:.2f} | {work:.2f} | {ended - closed:.2f} | "
        f"{result.returncode} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.kind:
        close_in_the_middle(arguments.kind, arguments.folder)
        return
    rows = [
        "| closed during | window gone, s | work over, s | process over, s | code |",
        "| --- | ---: | ---: | ---: | ---: |",
        *map(measured, KINDS),
    ]
    print("\n".join(rows))
    if arguments.out:
        put_between(arguments.out, "closing", "\n".join(rows))


if __name__ == "__main__":
    main()
