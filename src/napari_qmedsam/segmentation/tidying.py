"""What can be done to an object in 3D once its slices are segmented."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_qmedsam.errors import InvalidSettings


@dataclass(frozen=True)
class Tidying:
    """What is done to an object's mask, in the order of the fields.

    Parameters
    ----------
    smooth_mm : float
        Standard deviation, in mm across slices, of the Gaussian by which neighbouring
        slices have a say in each voxel. What ends within about that distance gets
        shorter or goes.
    largest_piece : bool
        Keep the largest piece alone; voxels that touch at a corner belong together.
    fill_holes : bool
        Fill what is enclosed on all sides.

    Raises
    ------
    InvalidSettings
        If `smooth_mm` is negative or no number.
    """

    smooth_mm: float = 0.0
    largest_piece: bool = False
    fill_holes: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.smooth_mm < np.inf:
            raise InvalidSettings(f"Smooth by 0 mm or more, not {self.smooth_mm}.")

    def __bool__(self) -> bool:
        """Whether anything is to be done."""
        return self != Tidying()

    def apply(
        self, mask: NDArray[np.bool_], slice_distance_mm: float
    ) -> NDArray[np.bool_]:
        """Return the tidied mask; an empty one stays empty.

        Parameters
        ----------
        mask : ndarray, (Z, Y, X) bool
        slice_distance_mm : float
            Between the middles of neighbouring slices.
        """
        found = ndimage.find_objects(mask.astype(np.uint8))
        if not found:
            return mask.copy()
        place = found[0]
        tidied = np.zeros_like(mask)
        tidied[place] = self._apply(mask[place], slice_distance_mm)
        return tidied

    def _apply(
        self, mask: NDArray[np.bool_], slice_distance_mm: float
    ) -> NDArray[np.bool_]:
        if self.smooth_mm > 0:
            sigma = self.smooth_mm / slice_distance_mm
            # Beyond the box of the object there is nothing of it.
            smooth = ndimage.gaussian_filter1d(
                mask.astype(np.float32), sigma, axis=0, mode="constant"
            )
            mask = smooth > 0.5
        if self.largest_piece and mask.any():
            pieces, _ = ndimage.label(mask, ndimage.generate_binary_structure(3, 3))
            mask = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
        if self.fill_holes:
            mask = ndimage.binary_fill_holes(mask)
        return mask
