"""What every reader does to its voxels: finite values, and a modality."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.volume import Modality, Volume

HU_RANGE = (-4096, -200)
"""A smallest value in here looks like CT."""


class NoFiniteVoxel(Exception):
    """Nothing but NaN and infinities; readers turn it into their own error."""


def as_float32(array: NDArray) -> NDArray:
    """Return float64 and float16 as float32, everything else as it is.

    Values too large for float32 become infinite and are dealt with by
    :func:`replace_non_finite`.
    """
    if array.dtype.kind != "f" or array.dtype == np.float32:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32)


def rescaled(voxels: NDArray, slope: float, intercept: float) -> NDArray:
    """Apply slope and intercept; whole numbers stay whole where they can.

    Slope 1 with intercept 0 returns the argument itself.
    """
    if (slope, intercept) == (1.0, 0.0):
        return voxels
    if voxels.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        low, high = int(voxels.min()), int(voxels.max())
        ends = [low, high, low * int(slope), high * int(slope)]
        ends += [end + int(intercept) for end in ends[2:]]
        ends += [int(slope), int(intercept)]
        for dtype in (np.uint8, np.int16, np.uint16, np.int32):
            # Every step must fit, not just the result.
            span = np.iinfo(dtype)
            if span.min <= min(ends) and max(ends) <= span.max:
                return _scale_in_place(voxels.astype(dtype), slope, intercept)
    return _scale_in_place(voxels.astype(np.float32), slope, intercept)


def _scale_in_place(array: NDArray, slope: float, intercept: float) -> NDArray:
    """Multiply and add in the type of the array, without a second copy.

    What is too large for it becomes infinite, which :func:`replace_non_finite` tells.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(array, array.dtype.type(slope), out=array)
        np.add(array, array.dtype.type(intercept), out=array)
    return array


def replace_non_finite(array: NDArray) -> tuple[NDArray, tuple[str, ...]]:
    """Replace NaN and infinities by the smallest finite value.

    Works slice by slice, so that no mask of the whole volume is held. A
    writable array is changed in place.

    Returns
    -------
    array : ndarray
        The argument itself unless it is read-only and had to change.
    notices : tuple of str
        One sentence with the count, or nothing.

    Raises
    ------
    NoFiniteVoxel
        If no value is finite.
    """
    if array.dtype.kind != "f":
        return array, ()
    bad = 0
    smallest = np.inf
    for plane in array:
        finite = np.isfinite(plane)
        missing = plane.size - int(np.count_nonzero(finite))
        bad += missing
        if missing < plane.size:
            values = plane[finite] if missing else plane
            smallest = min(smallest, float(values.min()))
    if bad == array.size:
        raise NoFiniteVoxel
    if bad == 0:
        return array, ()
    if not array.flags.writeable:
        array = array.copy()
    for plane in array:
        plane[~np.isfinite(plane)] = smallest
    share = 100.0 * bad / array.size
    notice = (
        f"{bad} voxels ({share:.2g} %) were NaN or infinite and now hold the "
        f"smallest finite value, {smallest:g}."
    )
    return array, (notice,)


def guess_modality(array: NDArray) -> Modality:
    """Guess the modality of a volume whose file does not say it.

    Colour is told by its axis. Values whose smallest lies in `HU_RANGE` are
    taken for CT, because air is about -1000 HU, also in CT that was resampled
    or scaled to fractions. Every other grey volume of several slices is taken
    for MR, a single grey slice for Other. :func:`~napari_qmedsam.read_volume`
    tells the guess and takes a better answer.

    Parameters
    ----------
    array : ndarray, (Z, Y, X) or (Z, Y, X, 3)
    """
    if array.ndim == 4:
        return Modality.COLOUR
    # What is no number, such as around a resampled scan, says nothing.
    if HU_RANGE[0] <= np.fmin.reduce(array, axis=None) <= HU_RANGE[1]:
        return Modality.CT
    return Modality.MR if array.shape[0] > 1 else Modality.OTHER


def finish(volume: Volume, modality: Modality | None = None) -> Volume:
    """Return the volume with finite voxels, and with `modality` if given.

    Raises
    ------
    NoFiniteVoxel
        If no voxel is finite.
    """
    array, notices = replace_non_finite(as_float32(volume.array))
    return replace(
        volume,
        array=array,
        modality=modality or volume.modality,
        notices=volume.notices + notices,
    )
