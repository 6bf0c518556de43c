"""With which numbers a model multiplies: as it is asked to, and as its file has it."""

from enum import StrEnum


class Precision(StrEnum):
    """Arithmetic of the matrix products that is asked for, or that runs."""

    FP32 = "fp32"
    """The reference."""

    BF16 = "bf16"
    """The encoder in bfloat16; the decoder, which takes sums of squares, in float32."""

    F16 = "f16"
    """The same in half precision."""

    FAST = "fast"
    """Packed weights with the encoder's inputs rounded to 8 bits as they come."""

    INT8 = "int8"
    """Inputs and weights as 8-bit integers; in torch the same values as floats."""

    AUTO = "auto"
    """The fastest on this machine that agrees with float32. Settled before a model
    is loaded (:mod:`napari_qmedsam.runtime.auto_precision`)."""


class Arithmetic(StrEnum):
    """What a model's file holds, and so what its products are computed with.

    This is the one answer to "how is this model quantized?"; whether the file is
    weights or a pair of graphs is another question (`ModelSource.graphs`).
    """

    FLOAT = "float"
    """Float weights."""

    PACKED = "packed"
    """Weights of few bits with their scales; inputs stay float."""

    INT8 = "int8"
    """Inputs and weights on grids of 8 bits or fewer: trained so, or graphs."""

    @property
    def precision(self) -> Precision:
        """What a runtime computes with if nothing stands against it."""
        return Precision.INT8 if self is Arithmetic.INT8 else Precision.FP32
