"""How one weight is quantized: one settings object for code, file and form."""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from napari_qmedsam.checkpoints.packed.granularity import (
    CHANNEL,
    Granularity,
    Permutation,
    check_units,
    group,
)
from napari_qmedsam.checkpoints.packed.scale_format import ScaleFormat
from napari_qmedsam.errors import UnsupportedQuantization
from napari_qmedsam.quantization.methods import METHODS, Method, Order

DEFAULT_GROUP = group(32)
"""Granularity of permuted rows where none is given.

Of 16, 32 and 64 the best on average at equal effective bits, for 2 to 4 bits on
simulated layers: benchmarks/permutation_choice.py.
"""

GranularityField = Annotated[
    Granularity,
    BeforeValidator(Granularity.parse),
    PlainSerializer(str, return_type=str),
]


class QuantizationSettings(BaseModel):
    """How one weight is quantized; every field has its help text.

    Make one with :meth:`of`, which raises errors of this package.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Field(
        Method.PERMUTATION_COMQ,
        title="Method",
        description="rtn rounds to nearest, and hqq after fitting the grid to the "
        "weights; gptq and comq make up for errors on the calibration inputs; "
        "permutation-comq sorts weights into units first.",
    )
    bit_width: int = Field(
        4, ge=1, le=8, title="Bits", description="Of each weight's code."
    )
    granularity: GranularityField | None = Field(
        None,
        title="Granularity",
        description="How far a scale reaches: layer, channel, group:G. Left out: "
        "channel, or group:32 for permuted rows.",
    )
    permutation: Permutation | None = Field(
        None,
        title="Permutation",
        description="rows or elements, for permutation-comq, which sorts them by size "
        "before they are cut into units; the order is stored. Left out: rows.",
    )
    sweeps: int = Field(
        3,
        ge=1,
        title="Sweeps",
        description="Of coordinate descent over each layer; K in the papers.",
    )
    order: Order = Field(
        Order.DESCENDING,
        description="In which a sweep visits inputs: natural, descending (by their "
        "energy; as good as greedy and as fast as natural) or greedy (each channel its "
        "own).",
    )
    shrinkage: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Of the first scale; λ in the papers. Left out: searched for each "
        "unit up to 3 bits for comq and permutation-comq, 1 otherwise.",
    )
    update_scales: bool = Field(
        True, description="Fit scales after each sweep, eq. (5)."
    )
    scale_format: ScaleFormat = Field(
        ScaleFormat.AUTO, description="In which scales are stored."
    )
    block_size: int = Field(128, ge=1, description="Rows of a block; speed only.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Settle what was left out, so that settings say all there is."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        # Unknown names are left for the fields to complain about.
        if values.get("permutation") is None:
            method = values.get("method", Method.PERMUTATION_COMQ)
            traits = METHODS.get(method)  # None of one that the field will refuse
            values["permutation"] = (
                Permutation.NONE if traits is None else traits.permutations[0]
            )
        if values.get("granularity") is None:
            rows = values["permutation"] == Permutation.ROWS
            values["granularity"] = DEFAULT_GROUP if rows else CHANNEL
        return values

    @model_validator(mode="after")
    def _agree(self) -> "QuantizationSettings":
        can, asked = self.method.traits.permutations, self.units[1]
        if asked not in can and can == (Permutation.NONE,):
            able = [m for m, traits in METHODS.items() if asked in traits.permutations]
            raise UnsupportedQuantization(
                f"{self.method} permutes nothing; permutation '{asked.value}' goes "
                f"with {' or '.join(able)}."
            )
        if asked not in can:
            needed = " or ".join(f"'{permutation.value}'" for permutation in can)
            raise UnsupportedQuantization(
                f"{self.method} needs permutation {needed}, not '{asked.value}'."
            )
        check_units(*self.units)
        if self.order not in self.method.traits.orders:
            able = [m for m, traits in METHODS.items() if self.order in traits.orders]
            raise UnsupportedQuantization(
                f"{self.method} visits inputs in one order for all channels; order "
                f"'{self.order.value}' goes with {' or '.join(able)}."
            )
        return self

    @property
    def units(self) -> tuple[Granularity, Permutation]:
        """Granularity and permutation."""
        assert self.granularity is not None
        assert self.permutation is not None
        return self.granularity, self.permutation

    @classmethod
    def of(cls, **values: Any) -> "QuantizationSettings":
        """Return settings with these values.

        Raises
        ------
        UnsupportedQuantization
            Naming the first value that is unknown or out of range.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            reason = (first.get("ctx") or {}).get("error")
            if isinstance(reason, UnsupportedQuantization):
                raise UnsupportedQuantization(str(reason)) from error
            where = ".".join(str(part) for part in first["loc"]) or "values"
            raise UnsupportedQuantization(
                f"Quantization setting '{where}' cannot be {first['input']!r}: "
                f"{first['msg'].lower()}."
            ) from error
