"""The Gram matrix ``XᵀX`` of a layer's inputs, gathered batch by batch.

Nothing else of the calibration inputs X is ever kept.
"""

import torch
from torch import Tensor

from napari_qmedsam.errors import CalibrationMismatch

ROWS_AT_ONCE = 4096
"""Rows multiplied in float32 before their sum is added in float64."""


class GramAccumulator:
    """Running sum of ``XᵀX``, for one layer.

    Products are taken in float32, sums over batches kept in float64, so that
    many batches lose nothing to rounding. `gram` and `rows` are all there is to
    save in order to stop and resume.

    Parameters
    ----------
    features : int
        Inputs m of one output channel.
    groups : int, optional
        Groups of a grouped convolution, each with inputs of its own.
    device : optional
        Where the sums live.
    """

    def __init__(
        self, features: int, groups: int = 1, device: torch.device | str = "cpu"
    ) -> None:
        self.rows = 0
        self.gram = torch.zeros(
            groups, features, features, dtype=torch.float64, device=device
        )

    @torch.no_grad()
    def add(self, inputs: Tensor, count: int | None = None) -> None:
        """Add a batch of inputs.

        Parameters
        ----------
        inputs : Tensor, (..., m), or (groups, rows, m) where groups > 1
        count : int, optional
            Rows that these stand for, if they are a sample of more: the sum is
            raised accordingly.

        Raises
        ------
        CalibrationMismatch
            If the shape does not fit, or a value is not finite: then nothing
            is added.
        """
        groups, features, _ = self.gram.shape
        fits = inputs.ndim >= 1 and inputs.shape[-1] == features
        if groups > 1:
            fits = fits and inputs.ndim == 3 and inputs.shape[0] == groups
        if not fits:
            expected = (groups, "rows", features) if groups > 1 else ("...", features)
            raise CalibrationMismatch(
                f"Expected calibration inputs of shape {expected}, got "
                f"{tuple(inputs.shape)}."
            )
        rows = inputs.detach().float().reshape(groups, -1, features)
        # One product stays float32 until it is added: passes over large matrices
        # take as long as the product of few rows.
        total: Tensor | None = None
        for part in rows.split(ROWS_AT_ONCE, dim=1):
            product = part.transpose(1, 2) @ part
            total = product if total is None else total.double().add_(product)
        assert total is not None
        if not torch.isfinite(total.sum(dtype=torch.float64)):
            raise CalibrationMismatch(
                "Calibration inputs hold values that are not finite, or so large "
                "that their products overflow."
            )
        share = 1.0 if count is None else count / rows.shape[1]
        self.gram.add_(total, alpha=share)
        self.rows += rows.shape[1]

    @property
    def matrix(self) -> Tensor:
        """``XᵀX``: (m, m), or (groups, m, m) where groups > 1; float64."""
        return self.gram[0] if self.gram.shape[0] == 1 else self.gram


def damped(gram: Tensor, share: float) -> Tensor:
    """Return ``XᵀX`` with a share of the mean input energy added to each input.

    The same as calibrating on further rows that hold one input at a time. Where
    calibration has seen few rows, some directions of the inputs hardly occur in
    it, and weights would be moved along them for next to nothing.

    Parameters
    ----------
    gram : Tensor, (m, m), or (groups, m, m)
    share : float
        0 leaves the matrix as it is.
    """
    if not share:
        return gram
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    added = share * diagonal.mean(dim=-1, keepdim=True)
    result = gram.clone()
    result.diagonal(dim1=-2, dim2=-1).add_(added)
    return result
