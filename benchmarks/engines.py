"""Time the engines on float and quantized encoders, as QMedSAM's Tables 5 and 6 do.

    python benchmarks/engines.py [--models demo,lite_medsam,medsam_vit_b]
        [--runs 7] [--seconds 120] [--threads N] [--out docs/benchmarks.md]

One slice through the image encoder, which is nearly all of the time. All engines
of a model take turns within one process, so a busy machine disturbs them alike;
figures are medians, and ratios to torch matter more than milliseconds. The first
round is not counted; two or more are, until --runs are done or --seconds have gone.
Engines of medsam_vit_b are loaded and timed one after the other instead, so that
memory holds one at a time. Float demo weights are the embedded ones; all others are
seeded and random, and quantized models have scales of 1, since time does not depend
on values. Weights have 7 bits so that int8 kernels are used on every processor. With
--out each model's table is put between its markers in that file. On a busy machine
use --threads 1: with more, the engines wait for each other's threads more than they
compute.
"""

import argparse
import gc
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import torch
from pages import put_between

from napari_qmedsam.checkpoints.fake_quantized import empty_model
from napari_qmedsam.checkpoints.openvino_import import import_openvino
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.models import build_model, config_of
from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
from napari_qmedsam.runtime import Backend, load_backend
from napari_qmedsam.runtime.executed import ExecutedProducts, executed_products
from napari_qmedsam.runtime.overflow import processor_overflows

SEED = 0

PAPER = {
    "lite_medsam": {
        ("torch", "float"): 1.180,
        ("onnxruntime", "float"): 0.787,
        ("openvino", "float"): 0.574,
        ("onnxruntime", "quantized"): 0.769,
        ("openvino", "quantized"): 0.585,
    },
    "medsam_vit_b": {
        ("torch", "float"): 10.181,
        ("onnxruntime", "float"): 5.707,
        ("openvino", "float"): 4.202,
        ("onnxruntime", "quantized"): 4.531,
        ("openvino", "quantized"): 3.558,
    },
}
"""Seconds of the paper's Tables 5 and 6: a whole inference on a Core i7-8750H."""

METHODS = (
    ("torch", "float"),
    ("onnxruntime", "float"),
    ("openvino", "float"),
    ("onnxruntime", "quantized"),
    ("openvino", "quantized"),
)
"""Engine and kind of model, in the paper's order."""

APART = ("medsam_vit_b",)
"""Models of which five at once would take too much memory."""

TITLES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def model_files(name: str, folder: Path) -> dict[str, str]:
    """Float and quantized weights of one architecture."""
    torch.manual_seed(SEED)
    config = config_of(name)
    float_model = name
    if name != "demo":
        float_model = str(
            save_model(build_model(config), folder / f"{name}.safetensors")
        )
    quantized = empty_model(config, FakeQuantSettings(7))
    path = save_model(quantized, folder / f"{name}-int8.safetensors")
    return {"float": float_model, "quantized": str(path)}


@dataclass(frozen=True)
class Effort:
    """Rounds at most, seconds after which none begins, and threads."""

    runs: int
    seconds: float
    threads: int


LEAST_RUNS = 2


def timed(
    backends: list[Backend], image: np.ndarray, effort: Effort
) -> list[list[float]]:
    """Milliseconds of each; they take turns, after one unmeasured round."""
    calls = [partial(backend.encode, image) for backend in backends]
    records: list[list[float]] = [[] for _ in calls]
    begin = time.perf_counter()
    for turn in range(effort.runs + 1):
        if turn > LEAST_RUNS and time.perf_counter() - begin > effort.seconds:
            break
        for call, record in zip(calls, records, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                record.append(1000 * (time.perf_counter() - start))
    return records


def measured(
    name: str, folder: Path, effort: Effort
) -> tuple[list[list[float]], ExecutedProducts]:
    """Milliseconds of all methods, and what OpenVINO runs of the quantized model."""
    files = model_files(name, folder)
    size = config_of(name).input_size
    image = np.random.default_rng(SEED).random((3, size, size), np.float32)

    def loaded(engine: str, kind: str) -> Backend:
        return load_backend(files[kind], engine, threads=effort.threads)

    if name not in APART:
        backends = [loaded(*method) for method in METHODS]
        products = executed_products(backends[-1]._encoder)
        return timed(backends, image, effort), products
    records = []
    for method in METHODS:
        backend = loaded(*method)
        records += timed([backend], image, effort)
        print(f"{name}, {method}: {median(records[-1]):.0f} ms", flush=True)
        if method == METHODS[-1]:
            products = executed_products(backend._encoder)
        del backend
        gc.collect()
    return records, products


def table(name: str, folder: Path, effort: Effort) -> Iterator[str]:
    """One model on all engines."""
    records, products = measured(name, folder, effort)
    times = [median(record) for record in records]
    paper = PAPER.get(name, {})
    rounds = min(len(record) for record in records)
    turns = "one after the other" if name in APART else "in turns"
    yield (
        f"**{name}**, one slice through the encoder, {rounds} runs {turns}; "
        f"{products} on OpenVINO."
    )
    yield ""
    yield "| method | ms | torch / it | paper s | paper torch / it |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for (engine, kind), spent in zip(METHODS, times, strict=True):
        theirs = paper.get((engine, kind))
        figures = (
            "| |"
            if theirs is None
            else (f"| {theirs:.3f} | {paper['torch', 'float'] / theirs:.2f} |")
        )
        ratio = times[0] / spent
        yield f"| {kind}, {TITLES[engine]} | {spent:.0f} | {ratio:.2f} {figures}"
    ratio = times[METHODS.index(("openvino", "float"))] / times[-1]
    yield ""
    yield f"Quantized against float on OpenVINO: {ratio:.2f} times as fast."
    yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="demo,lite_medsam,medsam_vit_b")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    openvino = import_openvino()
    kernels = "overflow with 8-bit weights" if processor_overflows() else "are exact"
    threads = arguments.threads or torch.get_num_threads()
    machine = (
        f"{platform.machine()}, {threads} threads, torch {torch.__version__}, ONNX "
        f"Runtime {onnxruntime.__version__}, OpenVINO "
        f"{openvino.__version__.split('-')[0]}; int8 kernels {kernels} here; medians, "
        f"seed {SEED}."
    )
    effort = Effort(arguments.runs, arguments.seconds, arguments.threads)
    for name in arguments.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            lines = table(name, Path(folder), effort)
            text = "\n".join([machine, "", *lines]).rstrip()
        print(text, flush=True)
        if arguments.out:
            put_between(arguments.out, f"engines {name}", text)


if __name__ == "__main__":
    main()
