"""Post-training quantization: RTN, COMQ and Permutation-COMQ.

Importing this package loads neither torch nor pydantic; each name loads what it
needs when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_qmedsam.quantization.gram import GramAccumulator
    from napari_qmedsam.quantization.granularity import Granularity, Permutation
    from napari_qmedsam.quantization.layer import (
        LayerReport,
        QuantizedWeight,
        quantize_weight,
    )
    from napari_qmedsam.quantization.settings import (
        Method,
        Order,
        QuantizationSettings,
    )
    from napari_qmedsam.quantization.tensor import QuantizedTensor

_HOMES = {
    "GramAccumulator": "gram",
    "Granularity": "granularity",
    "LayerReport": "layer",
    "Method": "settings",
    "Order": "settings",
    "Permutation": "granularity",
    "QuantizationSettings": "settings",
    "QuantizedTensor": "tensor",
    "QuantizedWeight": "layer",
    "quantize_weight": "layer",
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
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
