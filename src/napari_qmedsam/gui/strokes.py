"""What a stroke of napari's tools changed, as slices before it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def slices_before(labels: NDArray, atoms: Sequence[Any]) -> dict[tuple[int, int], Any]:
    """Return the slices that a stroke touched, as they were before it.

    Parameters
    ----------
    labels : ndarray, (Z, Y, X)
        As they are now.
    atoms : sequence
        The value of napari's event ``paint``: index arrays with the values that
        were there, or (from napari 0.9) a bounding box with a mask and values.

    Returns
    -------
    dict of (0, slice index) to 2D array
        As :meth:`~napari_qmedsam.segmentation.history.History.record` takes them.
    """
    before: dict[tuple[int, int], Any] = {}

    def plane(z: int) -> NDArray:
        return before.setdefault((0, z), labels[z].copy())

    for atom in reversed(atoms):
        key = getattr(atom, "slice_key", None)
        if key is None:
            indices, old, _ = atom
            _put_back(plane, _in_3d(indices), old)
            continue
        key = (slice(0, 1),) * (3 - len(key)) + tuple(key)
        first = key[0].indices(len(labels))[0]
        shape = labels[key].shape
        old = np.asarray(atom.old_values)
        if atom.mask is None:
            inside = np.ones(shape, bool)
            old = np.broadcast_to(old.reshape(shape) if old.ndim else old, shape)
            old = old[inside]
        else:
            inside = np.asarray(atom.mask).reshape(shape)
        z, y, x = np.nonzero(inside)
        starts = [
            part.indices(size)[0] for part, size in zip(key, labels.shape, strict=True)
        ]
        _put_back(plane, (z + first, y + starts[1], x + starts[2]), old)
    return before


def _in_3d(indices: Any) -> tuple[NDArray, ...]:
    arrays = np.broadcast_arrays(*(np.asarray(i) for i in indices))
    flat = tuple(np.atleast_1d(each).ravel() for each in arrays)
    missing = 3 - len(flat)
    return (np.zeros_like(flat[0]),) * missing + flat


def _put_back(plane: Any, where: tuple[NDArray, ...], old: Any) -> None:
    z, y, x = where
    old = np.broadcast_to(np.asarray(old).ravel(), z.shape)
    for index in np.unique(z):
        here = z == index
        plane(int(index))[y[here], x[here]] = old[here]
