"""Peak memory of 255 boxes on one slice, per runtime.

    python benchmarks/box_memory.py [--boxes 255] [--model lite_medsam]

Each runtime is measured in a process of its own, started by this script: the
peak resident memory before the model is loaded, after one encoding, and after
the boxes were decoded and made into masks of 512 by 512 pixels, in the default
blocks. The graphs for OpenVINO are converted beforehand, in another process.
Weights are seeded random numbers; memory does not depend on their values.
Exit code 1 if a runtime needs more than --limit gigabytes.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIDE = 512
BACKENDS = ("openvino", "torch")


def peak_megabytes() -> float:
    """Peak resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(weights: str, backend_name: str, count: int) -> dict[str, float]:
    """Encode a slice and decode `count` boxes on it."""
    from napari_qmedsam.prompts import Box2D
    from napari_qmedsam.runtime import load_backend
    from napari_qmedsam.segmentation.segmenter import SliceSegmenter
    from napari_qmedsam.volumes.volume import Volume
    from napari_qmedsam.volumes.windows import Window

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, SIDE, SIDE), np.uint8)
    starts = rng.integers(0, SIDE - 100, (count, 2))
    sizes = rng.integers(10, 100, (count, 2))
    boxes = [
        Box2D(x, y, x + w, y + h)
        for (x, y), (w, h) in zip(starts.tolist(), sizes.tolist(), strict=True)
    ]
    figures = {"start": peak_megabytes()}
    segmenter = SliceSegmenter(load_backend(weights, backend_name))
    volume, window = Volume(image), Window(0, 255)
    segmenter.embed(volume, 0, window)
    figures["encoded"] = peak_megabytes()
    start = time.perf_counter()
    masks = segmenter.segment_slice(volume, 0, boxes, window)
    figures["seconds"] = time.perf_counter() - start
    assert masks.shape == (count, SIDE, SIDE)
    figures["decoded"] = peak_megabytes()
    figures["block"] = segmenter.max_boxes
    return figures


def random_weights(model: str, folder: Path) -> Path:
    """Write seeded random weights for a model."""
    import torch

    from napari_qmedsam.checkpoints.saving import save_model
    from napari_qmedsam.models import build_model

    torch.manual_seed(0)
    return save_model(build_model(model), folder / f"{model}.safetensors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lite_medsam")
    parser.add_argument("--boxes", type=int, default=255)
    parser.add_argument("--limit", type=float, default=8.0, help="gigabytes")
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=BACKENDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.weights, options.only, options.boxes)))
        return 0
    too_much = False
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights(options.model, Path(folder))

        def in_own_process(backend: str, boxes: int) -> dict[str, float]:
            command = [sys.executable, __file__, "--weights", str(weights)]
            command += ["--only", backend, "--boxes", str(boxes)]
            env = {**os.environ, "QMEDSAM_CACHE": folder}
            done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)
            return json.loads(done.stdout)

        in_own_process("openvino", 1)  # converts
        print(f"{options.boxes} boxes on one {SIDE} x {SIDE} slice, {options.model}")
        for backend in BACKENDS:
            f = in_own_process(backend, options.boxes)
            print(
                f"{backend:9} peak {f['decoded']:6.0f} MB  (start {f['start']:.0f}, "
                f"after encoding {f['encoded']:.0f}; blocks of {f['block']}, "
                f"decoding {f['seconds']:.0f} s)"
            )
            too_much |= f["decoded"] > options.limit * 1000
    return int(too_much)


if __name__ == "__main__":
    raise SystemExit(main())
