"""Voxels that were corrected by hand, or by other runs, as a file keeps them."""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import GridMismatch


@dataclass(frozen=True, eq=False)
class Corrections:
    """Voxels that are not as the model left them.

    Parameters
    ----------
    positions : ndarray, (n,) int64
        Ascending, in the flattened volume.
    values : ndarray, (n,) uint32
        What they are instead; 0 where something was erased.
    """

    positions: NDArray[np.int64]
    values: NDArray[np.uint32]

    @classmethod
    def between(cls, automatic: NDArray, labels: NDArray) -> "Corrections":
        """Return what turns the first into the second."""
        positions = np.flatnonzero(automatic != labels)
        return cls(positions, labels.reshape(-1)[positions].astype(np.uint32))

    def apply(self, labels: NDArray) -> None:
        """Correct labels in place.

        Raises
        ------
        GridMismatch
            If they are smaller than the volume that was corrected.
        """
        if len(self.positions) and self.positions[-1] >= labels.size:
            raise GridMismatch("The corrections lie outside this volume.")
        labels.reshape(-1)[self.positions] = self.values

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: steps between positions and values, packed."""
        steps = np.diff(self.positions, prepend=0).astype("<u8")
        return {
            "voxels": len(self.positions),
            "steps": _packed(steps),
            "values": _packed(self.values.astype("<u4")),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Corrections":
        """Read what :meth:`to_dict` gave.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        steps = _unpacked(data["steps"], "<u8")
        values = _unpacked(data["values"], "<u4")
        if not len(steps) == len(values) == data["voxels"]:
            raise ValueError("corrections are incomplete")
        return cls(np.cumsum(steps.astype(np.int64)), values.astype(np.uint32))


def _packed(values: NDArray) -> str:
    return base64.b85encode(zlib.compress(values.tobytes(), 9)).decode()


def _unpacked(text: str, kind: str) -> NDArray:
    return np.frombuffer(zlib.decompress(base64.b85decode(text)), kind)
