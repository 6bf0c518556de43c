"""What a decoder computes once per slice, kept for the next boxes on it."""

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Prepared = TypeVar("Prepared")

KEPT = 4
"""Slices whose results are kept: each takes some 27 MB in LiteMedSAM, and a
fraction of an encoding to compute again."""


class PreparedSlices(Generic[Prepared]):
    """The results of the latest embeddings, told apart by identity.

    An embedding is never changed once it is encoded, and is kept alive here. How
    to compute is not: a method of a backend's own would keep the backend in a
    cycle, whose compiled graphs the garbage collector then takes down in
    whichever thread it runs, the interface's among them, for a tenth of a second.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[NDArray[np.float32], Prepared]] = []

    def of(
        self,
        embedding: NDArray[np.float32],
        prepare: Callable[[NDArray[np.float32]], Prepared],
    ) -> Prepared:
        """Return what decoding needs of an embedding, computing it if it is new."""
        found = [each for each in self._kept if each[0] is embedding]
        if not found:
            found = [(embedding, prepare(embedding))]
        others = [each for each in self._kept if each[0] is not embedding]
        self._kept = (found + others)[:KEPT]
        return found[0][1]
