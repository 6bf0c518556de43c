"""What a stroke of napari's tools changed: slices before and after it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SavedPlanes = dict[tuple[int, int], NDArray]
"""Slices by axis, which is 0, and index."""

PaintedVoxels = tuple[tuple[NDArray, NDArray, NDArray], Any, Any]
"""Places (z, y, x), and the values before and after."""


def slices_around(
    labels: NDArray, atoms: Sequence[Any]
) -> tuple[SavedPlanes, SavedPlanes]:
    """Return the slices that a stroke touches, before it and after it.

    napari tells of some strokes before it has written them, of others
    afterwards, so the array alone does not say.

    Parameters
    ----------
    labels : ndarray, (Z, Y, X)
    atoms : sequence
        The value of napari's event ``paint``: index arrays with old and new values,
        or (from napari 0.9) a bounding box with a mask and values.

    Returns
    -------
    before, after : dict of (0, slice index) to 2D array
        As :meth:`~napari_qmedsam.segmentation.history.History.record` takes them.
    """
    edits = [_edit(atom, labels.shape) for atom in atoms]
    touched = {int(z) for (places, *_), _, _ in edits for z in np.unique(places)}
    before = {(0, z): labels[z].copy() for z in sorted(touched)}
    for where, old, _ in reversed(edits):
        _put(before, where, old)
    after = {key: plane.copy() for key, plane in before.items()}
    for where, _, new in edits:
        _put(after, where, new)
    return before, after


def _edit(atom: Any, shape: tuple[int, ...]) -> PaintedVoxels:
    box = getattr(atom, "slice_key", None)
    if box is None:
        indices, old, new = atom
        arrays = np.broadcast_arrays(*(np.atleast_1d(i) for i in indices))
        flat = [each.ravel() for each in arrays]
        missing = [np.zeros_like(flat[0])] * (3 - len(flat))
        z, y, x = missing + flat
        return (z, y, x), old, new
    box = (slice(0, 1),) * (3 - len(box)) + tuple(box)
    limits = [part.indices(size) for part, size in zip(box, shape, strict=True)]
    extent = [stop - start for start, stop, _ in limits]
    inside = np.ones(extent, bool)
    if atom.mask is not None:
        inside = np.asarray(atom.mask).reshape(extent)
    z, y, x = (
        found + start
        for found, (start, *_) in zip(np.nonzero(inside), limits, strict=True)
    )
    return (z, y, x), atom.old_values, atom.new_value


def _put(
    planes: SavedPlanes, where: tuple[NDArray, NDArray, NDArray], values: Any
) -> None:
    z, y, x = where
    values = np.broadcast_to(np.ravel(values), z.shape)
    for index in {int(i) for i in np.unique(z)}:
        here = z == index
        planes[0, index][y[here], x[here]] = values[here]
