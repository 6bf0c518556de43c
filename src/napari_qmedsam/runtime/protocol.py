"""What every runtime can do: encode a slice, decode boxes on it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.models.configuration import ModelConfig

Points = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Positions (n, m, 2) as (x, y) of the model input, and labels (n, m): 1 where
the object is, 0 where it is not. Every box has the same number of points."""


@dataclass(frozen=True)
class RuntimeInfo:
    """What really runs.

    Parameters
    ----------
    model : str
        Name of the architecture, or of the weights file.
    backend, precision, device : str
    weights_sha256 : str
        Checksum of the weights; part of every embedding's key.
    weights_bytes : int
        Size of the weights file.
    memory_bytes : int
        What the weights take in memory, as the runtime was given them; 0 if
        that is not known.
    """

    model: str
    backend: str
    precision: str
    device: str
    weights_sha256: str
    weights_bytes: int
    memory_bytes: int = 0

    @property
    def key(self) -> str:
        """Everything that decides an embedding, besides the slice."""
        return f"{self.weights_sha256}/{self.backend}/{self.precision}/{self.device}"


def info_of(
    source: ModelSource,
    backend: str,
    device: str = "cpu",
    precision: Precision | None = None,
    memory_bytes: int = 0,
) -> RuntimeInfo:
    """Return what runs when a backend has loaded a model.

    `precision` is that of the model's file unless something else runs.
    """
    return RuntimeInfo(
        model=source.name,
        backend=str(backend),
        precision=str(precision or source.arithmetic.precision),
        device=device,
        weights_sha256=source.sha256,
        weights_bytes=source.size_bytes,
        memory_bytes=memory_bytes,
    )


class Backend(Protocol):
    """A loaded model. Calls from several threads at once are not allowed."""

    config: ModelConfig
    info: RuntimeInfo

    def encode(self, model_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode one slice.

        Parameters
        ----------
        model_input : ndarray, (3, S, S) float32

        Returns
        -------
        ndarray, (1, embedding_channels, E, E) float32
        """
        ...

    def decode(
        self,
        image_embedding: NDArray[np.float32],
        boxes: NDArray[np.float32],
        points: Points | None = None,
    ) -> NDArray[np.float32]:
        """Decode boxes on one embedding.

        Parameters
        ----------
        image_embedding : ndarray, (1, embedding_channels, E, E) float32
        boxes : ndarray, (n, 4) float32
            Corner pixels of the model input.
        points : Points, optional
            They refine the boxes.

        Returns
        -------
        ndarray, (n, L, L) float32
            Low-res logits.

        Raises
        ------
        InvalidPrompt
            If the model file takes boxes only.
        """
        ...
