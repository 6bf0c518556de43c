"""NNCF in a process of its own, for interfaces that have to stay alive.

It is Python for the most part and would hold the lock that they need.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from napari_qmedsam.errors import UnsupportedQuantization
from napari_qmedsam.models.checkpoints import ModelSource
from napari_qmedsam.quantization.job import CalibrationPlan
from napari_qmedsam.runtime.apart import run_apart

QUANTIZE = """
import pickle, sys
from napari_qmedsam.errors import QMedSAMError
from napari_qmedsam.quantization.nncf_int8 import quantize_graphs
source, plan, folder = pickle.load(sys.stdin.buffer)
try:
    quantize_graphs(source, plan.samples(source.config), folder)
except QMedSAMError as error:
    sys.exit(str(error))
"""


def is_installed() -> bool:
    """Whether NNCF can be imported, without importing it."""
    return importlib.util.find_spec("nncf") is not None


def quantize_graphs_apart(
    source: ModelSource,
    plan: CalibrationPlan,
    folder: Path,
    should_cancel: Callable[[], bool] = lambda: False,
) -> None:
    """Write encoder and decoder in int8, as `nncf_int8.quantize_graphs` does.

    Parameters
    ----------
    source : ModelSource
        Float.
    plan : CalibrationPlan
    folder : Path
        Made if it is not there.
    should_cancel : callable

    Raises
    ------
    Cancelled
        If `should_cancel` said so.
    UnsupportedQuantization
        If NNCF is not installed, or failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code, complaint = run_apart(QUANTIZE, (source, plan, folder), should_cancel)
    if code:
        raise UnsupportedQuantization(f"NNCF made no model: {complaint}")
