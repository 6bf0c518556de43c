"""Arrays in and out of decoder graphs, ours and those exported elsewhere."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def decoder_inputs(
    ranks: Sequence[int],
    image_embedding: NDArray[np.float32],
    boxes: NDArray[np.float32],
) -> list[NDArray[np.float32]]:
    """Return the inputs in the order and form that a decoder graph takes.

    Parameters
    ----------
    ranks : sequence of int
        Axes of the graph's inputs: 4 is the embedding; boxes are (n, 4), or
        (n, 1, 4) in QMedSAM's own exports.
    image_embedding : ndarray, (1, C, E, E)
    boxes : ndarray, (n, 4)
    """
    forms = {4: image_embedding, 3: boxes[:, None], 2: boxes}
    return [forms[rank] for rank in ranks]


def as_logits(
    output: NDArray[np.float32], boxes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a decoder's output as (n, L, L), copied out of the runtime's buffer."""
    return output.reshape(len(boxes), *output.shape[-2:]).copy()
