"""Where the time of a volume goes, and how busy the processor is meanwhile.

python benchmarks/volume_stages.py --models demo,lite_medsam --threads 2 > FILE

Segments one object and six of the CT phantom by their 3D boxes, on OpenVINO. What is
neither encoding nor decoding is what a pipeline of reading, preparing and painting
beside them could save.
"""

import argparse
import os
import time

import numpy as np

from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.segmentation.objects import ObjectPrompt
from napari_qmedsam.segmentation.painting import Painter
from napari_qmedsam.segmentation.propagation import Follow, segment_volume
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Modality


class Stages:
    """A backend whose stages are timed."""

    def __init__(self, backend):
        self.seconds = {"encode": 0.0, "decode": 0.0}
        for name in self.seconds:
            setattr(backend, name, self._timed(name, getattr(backend, name)))

    def _timed(self, name, stage):
        def run(*given):
            start = time.perf_counter()
            result = stage(*given)
            self.seconds[name] += time.perf_counter() - start
            return result

        return run


def measure(backend, case, count, follow):
    """Return seconds, those of each stage, and the share of processors used."""
    stages, segmenter = Stages(backend), SliceSegmenter(backend)
    ids = [i for i in case.names if (case.labels.array == i).any()][:count]
    prompts = [ObjectPrompt(i, _box(case.labels.array == i)) for i in ids]
    painter = Painter(np.zeros(case.volume.shape, np.uint32), False)
    start, used = time.perf_counter(), sum(os.times()[:2])
    for update in segment_volume(segmenter, case.volume, prompts, follow=follow):
        painter.paint(update, ids, [])
    seconds = time.perf_counter() - start
    return seconds, stages.seconds, (sum(os.times()[:2]) - used) / seconds


def _box(mask):
    found = [(int(i.min()), int(i.max()) + 1) for i in np.nonzero(mask)]
    (z0, z1), (y0, y1), (x0, x1) = found
    return Box3D(x0, y0, z0, x1, y1, z1)


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="demo")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    case = abdomen_case(Modality.CT, asked.seed)
    print("| model | follow | objects | s | encode % | decode % | rest % | busy % |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for model in asked.models.split(","):
        for follow in Follow:
            for count in (1, 6):
                backend = load_backend(model, threads=asked.threads)
                seconds, parts, used = measure(backend, case, count, follow)
                shares = [100 * part / seconds for part in parts.values()]
                cells = [*shares, 100 - sum(shares), 100 * used / asked.threads]
                figures = " | ".join(f"{share:.0f}" for share in cells)
                print(
                    f"| {model} | {follow.value} | {count} | {seconds:.1f} "
                    f"| {figures} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
