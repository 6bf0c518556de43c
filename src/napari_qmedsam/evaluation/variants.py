"""Variants of a model: the same network in several bit-widths, by name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from napari_qmedsam.checkpoints.arithmetic import Arithmetic, Precision
from napari_qmedsam.checkpoints.default_model import resolve_auto
from napari_qmedsam.checkpoints.header import QUANTIZED_KEY
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.quantization.methods import METHODS, NNCF
from napari_qmedsam.runtime import (
    Backend,
    BackendName,
    Device,
    Runtime,
    find_model,
    load,
    settle,
)

FLOAT = "float32"
"""Method of a model that is not quantized."""

FLOAT_BITS = 32

STORES_FLOATS = 16.0
"""Bits per weight from which a quantized file cannot but store floats."""

QAT, GRAPHS = "qat", "int8 graphs"
"""Methods of models in int8: trained for it, or by whoever exported the graphs."""

SHORT_NAMES = {
    **{method.value: traits.short for method, traits in METHODS.items()},
    QAT: "QAT",
    NNCF: "NNCF",
    GRAPHS: "int8",
}
"""Methods as names of variants have them: columns and layers are narrow."""


@dataclass(frozen=True)
class Variant:
    """One model as it is compared with others.

    Parameters
    ----------
    name : str
        What tables and layers call it.
    model : str
        A model name or a weights file, as
        :func:`~napari_qmedsam.runtime.find_model` takes it.
    runtime : Runtime
        What it runs on; the precision is INT8 where its products are in int8.
    architecture : str
    method : str
        How it was quantized; `FLOAT` if it was not.
    bit_widths : tuple of int
        Bits per code, ascending; several where layers differ.
    effective_bits : float
        Stored bits per quantized weight, scales and indices included; of models
        in int8 those of the whole file per parameter: what training leaves holds
        its weights as floats, and exported graphs say nothing of single weights.
    file_bytes : int
    parameters : int
        Numbers in the model, quantized or not.
    milliseconds_per_slice : float or None
        Measured by a comparison; None before the first.
    """

    name: str
    model: str
    runtime: Runtime = Runtime()
    architecture: str = ""
    method: str = FLOAT
    bit_widths: tuple[int, ...] = (FLOAT_BITS,)
    effective_bits: float = float(FLOAT_BITS)
    file_bytes: int = 0
    parameters: int = 0
    milliseconds_per_slice: float | None = None

    @property
    def backend(self) -> BackendName:
        """The backend it runs on."""
        return self.runtime.backend

    @property
    def precision(self) -> Precision:
        """The arithmetic of its products."""
        return self.runtime.precision

    @property
    def is_float(self) -> bool:
        """Whether nothing of it is quantized, so that others are measured by it."""
        return self.method == FLOAT and self.precision is Precision.FP32

    @property
    def bits(self) -> str:
        """Bits per code as text, ``4`` or ``2-8``."""
        low, high = min(self.bit_widths), max(self.bit_widths)
        return str(low) if low == high else f"{low}-{high}"

    @property
    def stored_bits(self) -> str:
        """What the effective bits are, as far as they differ from those of the codes.

        Empty where the file stores codes. Exported graphs and checkpoints of
        training store floats, which are rounded to their codes as they run.
        """
        if self.method == FLOAT or self.effective_bits < STORES_FLOATS:
            return ""
        return (
            f"Runs in {self.bits} bits; the file stores floats, "
            f"{self.effective_bits:.1f} bits for each weight."
        )

    @property
    def megabytes(self) -> float:
        """Size of the file."""
        return self.file_bytes / 1e6


class Variants:
    """The variants of a session, in the order they came in; names are unique."""

    def __init__(self) -> None:
        self._variants: dict[str, Variant] = {}

    def __len__(self) -> int:
        return len(self._variants)

    def __iter__(self) -> Iterator[Variant]:
        return iter(list(self._variants.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._variants

    def __getitem__(self, name: str) -> Variant:
        if name not in self._variants:
            raise InvalidSettings(f"There is no variant '{name}'.")
        return self._variants[name]

    @property
    def names(self) -> list[str]:
        """Names, oldest first."""
        return list(self._variants)

    def add(self, variant: Variant) -> Variant:
        """Keep a variant; a name that is taken gets a number.

        Returns
        -------
        Variant
            As it is kept.
        """
        name, number = variant.name, 1
        while name in self._variants:
            number += 1
            name = f"{variant.name} ({number})"
        kept = replace(variant, name=name)
        self._variants[name] = kept
        return kept

    def change(self, name: str, **values: Any) -> Variant:
        """Give a variant other values; its name and place stay.

        Raises
        ------
        InvalidSettings
            If there is no such variant.
        """
        changed = replace(self[name], **values)
        self._variants[name] = changed
        return changed

    def remove(self, name: str) -> None:
        """Forget a variant; its file stays.

        Raises
        ------
        InvalidSettings
            If there is no such variant.
        """
        del self._variants[self[name].name]


def variant_of(
    model: str,
    name: str | None = None,
    *,
    backend: str = BackendName.OPENVINO,
    precision: str = Precision.FP32,
    device: str = Device.AUTO,
    progress: Callable[[int, int | None], None] | None = None,
) -> Variant:
    """Describe a model or weights file as a variant.

    Parameters
    ----------
    model : str
        A model name, a weights file, or a folder with exported graphs. Official
        weights are downloaded.
    name : str, optional
        Default: model, bits and method.
    backend, precision, device : str
        What it is to run on; not loaded here. ``int8`` describes the model's int8
        form; models in int8 run in int8 anyway.
    progress : callable, optional
        For the download.

    Raises
    ------
    QMedSAMError
        If there is no such model, or the file is none.
    """
    model, _ = resolve_auto(model)
    runtime = Runtime.parse(backend, precision, device)
    runtime = settle(model, runtime, progress=progress)
    source = find_model(model, runtime, progress=progress)
    parameters = _count_parameters(source)
    facts = {
        "runtime": replace(runtime, precision=_precision(source, runtime)),
        "architecture": source.config.name,
        "file_bytes": source.size_bytes,
        "parameters": parameters,
        **_quantization(source, parameters),
    }
    variant = Variant("", str(model), **facts)
    return replace(variant, name=name or _default_name(variant))


def load_variant(
    variant: Variant, *, progress: Callable[[int, int | None], None] | None = None
) -> Backend:
    """Load a variant on its runtime, in its precision.

    Raises
    ------
    QMedSAMError
        If its file is gone, or the runtime cannot be had.
    """
    source = find_model(variant.model, variant.runtime, progress=progress)
    return load(source, variant.runtime)


# Helpers ------------------------------------------------------------------


def _precision(source: ModelSource, runtime: Runtime) -> Precision:
    is_int8 = source.arithmetic is Arithmetic.INT8
    return Precision.INT8 if is_int8 else runtime.precision


def _quantization(source: ModelSource, parameters: int) -> dict[str, Any]:
    """Return method, bits and effective bits; none for a float model."""
    if source.arithmetic is Arithmetic.INT8:
        trained = source.fake_quant
        bits = 8 if trained is None else trained.weight_bit_width
        return {
            "method": GRAPHS if trained is None else QAT,
            "bit_widths": (bits,),
            "effective_bits": 8 * source.size_bytes / parameters,
        }
    card = source.card
    if source.arithmetic is Arithmetic.FLOAT:
        return {}
    layers = card[QUANTIZED_KEY]
    recipe = card.get("recipe", {}).get("settings", {})
    widths = {int(entry["bit_width"]) for entry in layers.values()}
    return {
        "method": str(recipe.get("method", "quantized")),
        "bit_widths": tuple(sorted(widths)),
        "effective_bits": float(card.get("effective_bits", max(widths))),
    }


def _count_parameters(source: ModelSource) -> int:
    import torch

    from napari_qmedsam.models import build_model

    # Shapes alone: no memory, no random numbers.
    with torch.device("meta"):
        model = build_model(source.config)
    return sum(parameter.numel() for parameter in model.parameters())


def _default_name(variant: Variant) -> str:
    if variant.method == FLOAT:
        return f"{variant.architecture} {variant.precision.upper()}"
    method = SHORT_NAMES.get(variant.method, variant.method)
    name = f"{variant.architecture} {variant.bits}-bit {method}"
    is_plain = variant.precision in (Precision.FP32, Precision.INT8)
    return name if is_plain else f"{name} {variant.precision}"
