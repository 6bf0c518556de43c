"""What is measured: a model on a runtime, each in processes of its own."""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.checkpoints.download import is_at_hand
from napari_qmedsam.errors import UnsupportedBackend
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.runtime.registry import BackendName, Device, Runtime
from napari_qmedsam.runtime.subprocess_worker import run_in_subprocess

BOXES = (1, 6, 32)
"""Boxes that are decoded at once."""

SEED = 0

PROGRAM = """
import json, pickle, sys
from napari_qmedsam.benchmark.setups import run_setup
setup, repeats = pickle.load(sys.stdin.buffer)
print(json.dumps(run_setup(setup, repeats)), flush=True)
"""


@dataclass(frozen=True)
class Setup:
    """One line of the table.

    Parameters
    ----------
    model : str
        Name, weights file or folder.
    runtime : Runtime
    random : bool
        Whether weights are seeded random numbers, because the official ones are not
        on this machine: time does not depend on their values.
    """

    model: str
    runtime: Runtime
    random: bool = False

    def __str__(self) -> str:
        """Return what to call it."""
        asked = self.runtime
        return f"{self.model}, {asked.backend} {asked.precision} on {asked.device}"


@dataclass(frozen=True)
class SetupFigures:
    """What was measured of a setup.

    Parameters
    ----------
    precision, device : str
        What really ran.
    cold_s, warm_s : float
        From the start of a process to the first mask: with nothing in the cache, so
        that models are converted and compiled, and with everything there.
    encode_ms, encode_cpu_ms : float
        Median of an encoding, by the clock and in processor time.
    prepare_ms : float
        What a decoder computes once per slice, besides the first box.
    decode_ms : dict of float
        Median of decoding so many boxes on a slice that has been asked before.
    peak_mb : float
        Largest memory of the process.
    gflop : float
        Operations of an encoding, in 1e9.
    """

    precision: str
    device: str
    cold_s: float
    warm_s: float
    encode_ms: float
    encode_cpu_ms: float
    prepare_ms: float
    decode_ms: dict[int, float]
    peak_mb: float
    gflop: float


def setups_of(
    models: Sequence[str],
    backends: Sequence[BackendName],
    precisions: Sequence[Precision],
    devices: Sequence[Device],
    threads: Sequence[int],
) -> tuple[list[Setup], list[str]]:
    """Return every combination that there is, and why others are left out."""
    found, left_out = [], []
    for model, backend, precision, device, count in itertools.product(
        models, backends, precisions, devices, threads
    ):
        try:
            runtime = Runtime(backend, device, precision, count)
        except UnsupportedBackend as error:
            left_out.append(str(error))
            continue
        entry = CATALOGUE.get(model)
        found.append(Setup(model, runtime, entry is not None and not is_at_hand(entry)))
    return found, list(dict.fromkeys(left_out))


def measure_setup(setup: Setup, repeats: int, cache: Path) -> SetupFigures:
    """Run a setup in two processes, the first of which finds an empty cache.

    Parameters
    ----------
    setup : Setup
    repeats : int
        Encodings and decodings that count, after one that does not.
    cache : Path
        Empty.

    Raises
    ------
    UnsupportedBackend
        If it cannot be had, with the reason.
    """
    before = os.environ.get("QMEDSAM_CACHE")
    os.environ["QMEDSAM_CACHE"] = str(cache)
    try:
        cold = run_alone(PROGRAM, (setup, 0))
        warm = run_alone(PROGRAM, (setup, repeats))
    finally:
        if before is None:
            del os.environ["QMEDSAM_CACHE"]
        else:
            os.environ["QMEDSAM_CACHE"] = before
    return SetupFigures(
        warm["precision"],
        warm["device"],
        cold["seconds"],
        warm["seconds"],
        1000 * median(warm["encode"]),
        1000 * median(warm["encode_cpu"]),
        1000 * max(0.0, median(warm["first"]) - median(warm["decode"]["1"])),
        {int(n): 1000 * median(seconds) for n, seconds in warm["decode"].items()},
        warm["peak_mb"],
        warm["gflop"],
    )


def run_alone(program: str, payload: Any) -> dict[str, Any]:
    """Run a program in a process of its own and return the JSON that it prints last.

    `seconds` are added if it does not tell them: from start to its first mask.

    Raises
    ------
    UnsupportedBackend
        If it fails, with what it said last.
    """
    lines: list[str] = []
    start = time.time()
    code, complaint = run_in_subprocess(program, payload, lines.append)
    if code or not lines:
        raise UnsupportedBackend(complaint.partition(": ")[2] or complaint)
    answer = json.loads(lines[-1])
    if "first_mask" in answer:
        answer["seconds"] = answer["first_mask"] - start
    return answer


def run_setup(setup: Setup, repeats: int) -> dict[str, Any]:
    """Measure in this process; see :func:`measure_setup`."""
    import numpy as np

    source, runtime = source_of(setup)
    backend = runtime.backend.entry.make(source, runtime)
    config = backend.config
    rng = np.random.default_rng(SEED)
    image = rng.random((3, config.input_size, config.input_size), np.float32)
    corner = rng.uniform(0, config.input_size / 2, (max(BOXES), 2))
    boxes = np.hstack([corner, corner + config.input_size / 3]).astype(np.float32)
    embedding = backend.encode(image)
    backend.decode(embedding, boxes[:1])
    found: dict[str, Any] = {
        "precision": str(backend.info.precision),
        "device": str(backend.info.device),
        "first_mask": time.time(),
    }
    if repeats:
        encoded = [timed(partial(backend.encode, image)) for _ in range(repeats)]
        found["encode"] = [seconds for seconds, _ in encoded]
        found["encode_cpu"] = [seconds for _, seconds in encoded]
        copies = [embedding.copy() for _ in range(repeats)]  # each a slice of its own
        found["first"] = [
            timed(partial(backend.decode, copy, boxes[:1]))[0] for copy in copies
        ]
        found["decode"] = {}
        for count in BOXES:
            backend.decode(embedding, boxes[:count])
            found["decode"][str(count)] = [
                timed(partial(backend.decode, embedding, boxes[:count]))[0]
                for _ in range(repeats)
            ]
    found["peak_mb"] = peak_megabytes()
    if repeats:
        found["gflop"] = encoder_gflop(config)
    return found


def source_of(setup: Setup) -> tuple[Any, Runtime]:
    """Find the model of a setup, or write one of random weights into the cache."""
    from napari_qmedsam.runtime import find_model, settle

    model = setup.model
    if setup.random:
        import torch

        from napari_qmedsam.checkpoints.saving import save_model
        from napari_qmedsam.models import build_model
        from napari_qmedsam.runtime.cache import cache_folder

        path = cache_folder() / f"{model}-random.safetensors"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.manual_seed(SEED)
            save_model(build_model(CATALOGUE[model].architecture), path)
        model = str(path)
    runtime = settle(model, setup.runtime)
    return find_model(model, runtime), runtime


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of a call by the clock, and of the processor."""
    start, start_cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - start_cpu


def peak_megabytes() -> float:
    """Largest memory that this process has had, as far as the system says it."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def encoder_gflop(config: ModelConfig) -> float:
    """Count an encoding's operations, two for a product and its sum, in 1e9."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from napari_qmedsam.models import build_model

    with torch.device("meta"):  # shapes alone
        encoder = build_model(config).image_encoder
        image = torch.empty(1, 3, config.input_size, config.input_size)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        encoder(image)
    return counter.get_total_flops() / 1e9
