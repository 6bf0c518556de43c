"""Post-training quantization: RTN, COMQ and Permutation-COMQ.

Importing this package loads neither torch nor pydantic; each name loads what it
needs when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_qmedsam.checkpoints.packed.granularity import Granularity, Permutation
    from napari_qmedsam.checkpoints.packed.tensor import QuantizedTensor
    from napari_qmedsam.quantization.gram import GramAccumulator
    from napari_qmedsam.quantization.layer import (
        LayerReport,
        QuantizedWeight,
        quantize_weight,
    )
    from napari_qmedsam.quantization.methods import Method
    from napari_qmedsam.quantization.settings import Order, QuantizationSettings

_HOMES = {
    "GramAccumulator": "quantization.gram",
    "Granularity": "checkpoints.packed.granularity",
    "LayerReport": "quantization.layer",
    "Method": "quantization.methods",
    "Order": "quantization.settings",
    "Permutation": "checkpoints.packed.granularity",
    "QuantizationSettings": "quantization.settings",
    "QuantizedTensor": "checkpoints.packed.tensor",
    "QuantizedWeight": "quantization.layer",
    "quantize_weight": "quantization.layer",
}
"""The public names, and the modules they live in."""

__all__ = [
    "GramAccumulator",
    "Granularity",
    "LayerReport",
    "Method",
    "Order",
    "Permutation",
    "QuantizationSettings",
    "QuantizedTensor",
    "QuantizedWeight",
    "quantize_weight",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"napari_qmedsam.{_HOMES[name]}"), name)
