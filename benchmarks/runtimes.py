"""Time torch against OpenVINO, and one encoding per slice against many.

    python benchmarks/runtimes.py [--runs 7] [--out docs/benchmarks.md]

Both runtimes get the same weights and the same input and take turns within one
process, so a busy machine disturbs both alike. Figures are medians. Weights:
the embedded demo model, and LiteMedSAM with seeded random weights (time does
not depend on their values). With --out the tables are put between the markers
of that file.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pages import put_between

from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.models import build_model
from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.runtime import Backend, load_backend
from napari_qmedsam.runtime.conversion import import_openvino
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.propagation import (
    ObjectPrompt,
    Propagation,
    segment_volume,
)
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Modality

SEED = 0
openvino = import_openvino()
OBJECTS = 6


def milliseconds(calls: list[Callable[[], object]], runs: int) -> list[float]:
    """Median time of each call; they take turns, after one unmeasured round."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(runs + 1):
        for call, record in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                record.append(1000 * (time.perf_counter() - start))
    return [median(record) for record in times]


def backends(name: str, folder: Path) -> tuple[Backend, Backend]:
    """Torch and OpenVINO with the same weights."""
    if name == "demo":
        model = name
    else:
        torch.manual_seed(SEED)
        model = str(save_model(build_model(name), folder / f"{name}.safetensors"))
    return load_backend(model, "torch"), load_backend(model, "openvino")


def encoder_table(runs: int, folder: Path) -> Iterator[str]:
    """Time encoder and decoder of both models on both runtimes."""
    yield "| model | part | torch ms | OpenVINO ms | torch / OpenVINO |"
    yield "| --- | --- | ---: | ---: | ---: |"
    rng = np.random.default_rng(SEED)
    for name in ("demo", "lite_medsam"):
        pair = backends(name, folder)
        size = pair[0].config.input_size
        image = rng.random((3, size, size), np.float32)
        embedding = pair[0].encode(image)
        corner = rng.uniform(0, size / 2, (OBJECTS, 2))
        boxes = np.hstack([corner, corner + size / 3]).astype(np.float32)
        for part, method, arguments in (
            ("encoder", "encode", (image,)),
            ("decoder, 1 box", "decode", (embedding, boxes[:1])),
            ("decoder, 6 boxes", "decode", (embedding, boxes)),
        ):
            calls = [partial(getattr(b, method), *arguments) for b in pair]
            slow, fast = milliseconds(calls, runs)
            yield f"| {name} | {part} | {slow:.0f} | {fast:.0f} | {slow / fast:.2f} |"


def volume_table(folder: Path) -> Iterator[str]:
    """Six overlapping objects: a shared encoding per slice against one each."""
    yield "| model | slices | objects | per object | shared | ratio |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    case = abdomen_case(Modality.CT, SEED)
    prompts = [
        ObjectPrompt(i + 1, Box3D(20 + 10 * i, 40, 14 + i, 90 + 12 * i, 130, 28 + i))
        for i in range(OBJECTS)
    ]
    slices = len({z for p in prompts for z in range(p.box.z_min, p.box.z_max)})
    for name in ("demo", "lite_medsam"):
        backend = backends(name, folder)[1]
        counted = [0]
        encode = backend.encode

        def count(x, encode=encode, counted=counted):
            counted[0] += 1
            return encode(x)

        backend.encode = count

        def run(groups: list[list[ObjectPrompt]], backend=backend) -> float:
            start = time.perf_counter()
            for group in groups:
                segmenter = SliceSegmenter(backend, EmbeddingStore())
                for _ in segment_volume(
                    segmenter, case.volume, group, propagation=Propagation.BOX
                ):
                    pass
            return time.perf_counter() - start

        naive = run([[prompt] for prompt in prompts])
        naive_count, counted[0] = counted[0], 0
        shared = run([prompts])
        yield (
            f"| {name} | {slices} | {OBJECTS} | {naive_count} encodings, {naive:.1f} s "
            f"| {counted[0]} encodings, {shared:.1f} s | {naive / shared:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        machine = (
            f"{platform.machine()}, {torch.get_num_threads()} threads, "
            f"Python {platform.python_version()}, torch {torch.__version__}, "
            f"OpenVINO {openvino.__version__.split('-')[0]}; "
            f"medians of {arguments.runs}, seed {SEED}."
        )
        objects = (
            f"CT phantom (seed {SEED}, 192 x 192 pixels), {OBJECTS} overlapping 3D "
            "boxes, OpenVINO, one run each:"
        )
        encoders = encoder_table(arguments.runs, Path(folder))
        volumes = volume_table(Path(folder))
        lines = [machine, "", *encoders, "", objects, "", *volumes]
    text = "\n".join(lines)
    print(text)
    if arguments.out:
        put_between(arguments.out, "runtimes", text)


if __name__ == "__main__":
    main()
