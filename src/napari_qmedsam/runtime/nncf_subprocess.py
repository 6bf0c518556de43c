"""NNCF in a process of its own.

It is Python for the most part and would hold the lock that interfaces need.
Besides it makes and drops OpenVINO cores, which can leave a process unable to
take a signal (:func:`~napari_qmedsam.checkpoints.openvino_import.openvino_core`).
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

from napari_qmedsam.checkpoints.exported import read_exported
from napari_qmedsam.checkpoints.openvino_import import import_openvino
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.errors import MissingDependency, UnsupportedQuantization
from napari_qmedsam.runtime.cache import cache_folder, cache_key, make_once
from napari_qmedsam.runtime.nncf_int8 import MISSING
from napari_qmedsam.runtime.subprocess_worker import run_in_subprocess

PLAN = CalibrationPlan(slices=16)
"""What `--precision int8` calibrates on; ranges need fewer slices than sums of
products, and each takes seconds."""

VERSION = 3
"""Raise it when the graphs come out differently, so that old ones are not reused."""

OURS = 3
"""Exit code of the other process where it has a message for the user."""

QUANTIZE = f"""
import json, pickle, sys
from napari_qmedsam.errors import QMedSAMError
from napari_qmedsam.runtime.nncf_int8 import quantize_graphs
source, plan, folder = pickle.load(sys.stdin.buffer)
steps, sys.stdout = sys.stdout, sys.stderr  # NNCF has bars of its own
def step(*progress):
    print(json.dumps(progress), file=steps, flush=True)
try:
    quantize_graphs(source, plan.samples(source.config), folder, step)
except QMedSAMError as error:
    print(" ".join(str(error).split()), file=sys.stderr)
    sys.exit({OURS})
"""


def is_installed() -> bool:
    """Whether NNCF can be imported, without importing it."""
    return importlib.util.find_spec("nncf") is not None


def quantize_graphs_in_subprocess(
    source: ModelSource,
    plan: CalibrationPlan,
    folder: Path,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> None:
    """Write encoder and decoder in int8, as `nncf_int8.quantize_graphs` does.

    Parameters
    ----------
    source : ModelSource
        Float.
    plan : CalibrationPlan
    folder : Path
        Made if it is not there.
    progress : callable
        Called for each calibration slice of encoder and decoder, with steps done
        and in all, and a text.

    Raises
    ------
    Cancelled
        If the work is not wanted any more.
    MissingDependency
        If NNCF is not installed.
    UnsupportedQuantization
        If it failed, or refused the model or the slices.
    """
    if not is_installed():
        raise MissingDependency(MISSING)

    def step(line: str) -> None:
        progress(*json.loads(line))

    folder.mkdir(parents=True, exist_ok=True)
    payload = (source, plan, folder)
    code, complaint = run_in_subprocess(QUANTIZE, payload, step)
    if code == OURS:
        raise UnsupportedQuantization(complaint)
    if code:
        raise UnsupportedQuantization(f"NNCF made no model: {complaint}")


def int8_source(source: ModelSource) -> ModelSource:
    """Return a float model's int8 graphs, made the first time.

    Calibrated on phantoms.

    Raises
    ------
    Cancelled
        If the work is not wanted any more.
    MissingDependency, UnsupportedQuantization
        As :func:`quantize_graphs_in_subprocess`.
    """

    def make(folder: Path) -> None:
        quantize_graphs_in_subprocess(source, PLAN, folder)

    folder = make_once(int8_folder(source), "decoder.bin", make)
    graphs = read_exported(folder)
    return ModelSource(source.config, folder, f"{source.name}-int8", graphs)


def int8_folder(source: ModelSource) -> Path:
    """Return where the int8 graphs of a float model are, or will be."""
    version = import_openvino().__version__
    key = cache_key(source.sha256, repr(source.config), version, PLAN.slices, VERSION)
    return cache_folder() / "nncf" / f"{source.config.name}-int8-{key}"
