"""The machine that is measured: its name, its instructions, its fastest products."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

EXTENSIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile")
"""Instruction sets that decide how fast products are, as Linux names them."""

LIMIT = "ONEDNN_MAX_CPU_ISA"
"""Variable that switches instruction sets off, for all that is measured."""

LIBRARIES = ("napari-qmedsam", "torch", "openvino", "onnxruntime")

SIDE, ROUNDS = 2048, 4
"""Side of the square matrices whose product is the peak, and how often it is taken."""


@dataclass(frozen=True)
class Machine:
    """What figures are of.

    Parameters
    ----------
    processor, system : str
    instructions : tuple of str
        Those of `EXTENSIONS` that it has; empty where the system does not say.
    cores : int
    limit : str
        What `ONEDNN_MAX_CPU_ISA` leaves of them; empty where it is not set.
    versions : dict of str
    """

    processor: str
    system: str
    instructions: tuple[str, ...]
    cores: int
    limit: str
    versions: dict[str, str]

    def __str__(self) -> str:
        """Return one line for tables."""
        limit = f", {LIMIT}={self.limit}" if self.limit else ""
        found = f" ({', '.join(self.instructions)})" if self.instructions else ""
        libraries = ", ".join(f"{name} {v}" for name, v in self.versions.items())
        return (
            f"{self.processor}{found}{limit}, {self.cores} cores, {self.system}; "
            f"{libraries}."
        )


def this_machine() -> Machine:
    """Return what is known of the machine that this runs on."""
    lines: list[str] = []
    told = Path("/proc/cpuinfo")
    if told.exists():
        lines = told.read_text(encoding="utf-8", errors="replace").splitlines()
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())  # those of the first core
    flags = facts.get("flags", "").split()
    return Machine(
        facts.get("model name") or platform.processor() or platform.machine(),
        platform.system(),
        tuple(name for name in EXTENSIONS if name in flags),
        os.cpu_count() or 1,
        os.environ.get(LIMIT, ""),
        {name: _version(name) for name in LIBRARIES},
    )


def peak_gflops(threads: int, kind: str) -> float:
    """Measure the peak of matrix products, in 1e9 operations a second.

    The faster of torch's and OpenVINO's: their libraries favour some makers'
    processors, and a share of a slower one's peak would go beyond 100 %.

    Parameters
    ----------
    threads : int
        0 leaves them to each.
    kind : str
        ``float32`` or ``bfloat16``.
    """
    products = _product_by_torch(threads, kind), _product_by_openvino(threads, kind)
    best = float("inf")
    for product in products:
        product()
        for _ in range(ROUNDS):
            start = time.perf_counter()
            product()
            best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best / 1e9


def _product_by_torch(threads: int, kind: str) -> Callable[[], object]:
    import torch

    if threads:
        torch.set_num_threads(threads)
    matrix = torch.ones(SIDE, SIDE, dtype=getattr(torch, kind))
    return lambda: matrix @ matrix


def _product_by_openvino(threads: int, kind: str) -> Callable[[], object]:
    import numpy as np
    import openvino
    from openvino import opset13

    weights = np.full((SIDE, SIDE), 1 / SIDE, np.float32)
    given = opset13.parameter((SIDE, SIDE), np.float32)
    graph = openvino.Model([opset13.matmul(given, weights, False, False)], [given])
    precision = {"float32": "f32", "bfloat16": "bf16"}[kind]
    options: dict[str, object] = {"INFERENCE_PRECISION_HINT": precision}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    request = openvino.compile_model(graph, "CPU", options).create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ones((SIDE, SIDE), np.float32)))
    return request.infer


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:  # not installed
        return "none"
